// DotProd: how well a pod's wishes align with what a node has free. Lowest product wins, so full nodes do.
#include "sim/replay/policy.h"

namespace tweendeck::sim {

namespace {

class DotProduct final : public Policy {
 public:
  Score score(const NodeState& node, const Ask& ask) override {
    const double cpu =
        static_cast<double>(node.cpu_milli) * ask.cpu_milli / (kScaleCpuMilli * kScaleCpuMilli);
    const double gpu = static_cast<double>(node.free_milli()) * ask.asked_milli() /
                       (static_cast<double>(kScaleGpuMilli) * kScaleGpuMilli);
    return {static_cast<int16_t>(100 * (1 - 0.5 * (cpu + gpu))),
            static_cast<int8_t>(ask.is_share() ? best_fit_gpu(node, ask) : -1)};
  }
};

}  // namespace

std::unique_ptr<Policy> make_dot_product() {
  return std::make_unique<DotProduct>();
}

}  // namespace tweendeck::sim

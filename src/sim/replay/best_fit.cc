// BestFit: the node that has least left afterwards. The published score is then stretched to 0..100 over the nodes
// that fit, which keeps their order.
#include "sim/replay/policy.h"

namespace tweendeck::sim {

namespace {

class BestFit final : public Policy {
 public:
  Score score(const NodeState& node, const Ask& ask) override {
    const double cpu = (node.cpu_milli - ask.cpu_milli) / kScaleCpuMilli;
    const double gpu = (node.free_milli() - ask.asked_milli()) / static_cast<double>(kScaleGpuMilli);
    return {static_cast<int16_t>(100 * (1 - 0.5 * (cpu + gpu))),
            static_cast<int8_t>(ask.is_share() ? best_fit_gpu(node, ask) : -1)};
  }
};

}  // namespace

std::unique_ptr<Policy> make_best_fit() {
  return std::make_unique<BestFit>();
}

}  // namespace tweendeck::sim

// GpuClustering: pods of one class together; in a tier, the fuller node.
#include "sim/replay/policy.h"

namespace tweendeck::sim {

namespace {

constexpr int kOnlyThisClass = 75;
constexpr int kThisAndOthers = 50;
constexpr int kNoGpuPods = 25;
constexpr int kOnlyOthers = 0;
constexpr int kTierRange = 25;

class Clustering final : public Policy {
 public:
  Score score(const NodeState& node, const Ask& ask) override {
    if (ask.gpus == 0) return {0, -1};
    const uint8_t wanted = class_of(ask);
    int base = kOnlyOthers;
    if (node.classes == 0)
      base = kNoGpuPods;
    else if (node.classes == wanted)
      base = kOnlyThisClass;
    else if ((node.classes & wanted) != 0)
      base = kThisAndOthers;
    const int fullness = kTierRange * (kScaleGpuMilli - node.free_milli()) / kScaleGpuMilli;
    return {static_cast<int16_t>(base + fullness),
            static_cast<int8_t>(ask.is_share() ? best_fit_gpu(node, ask) : -1)};
  }
};

}  // namespace

std::unique_ptr<Policy> make_clustering() {
  return std::make_unique<Clustering>();
}

}  // namespace tweendeck::sim

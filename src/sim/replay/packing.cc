// GpuPacking: partly used GPUs first, then free GPUs of used nodes, then unused nodes.
#include <vector>

#include "sim/replay/policy.h"

namespace tweendeck::sim {

namespace {

// Tiers of the published score; a higher one is preferred whatever comes after.
constexpr int kPartlyUsed = 100;
constexpr int kFreeGpuOfUsedNode = 50;
constexpr int kUnusedNode = 33;

class Packing final : public Policy {
 public:
  Score score(const NodeState& node, const Ask& ask) override {
    if (ask.gpus == 0) return {0, -1};
    const int8_t gpu = static_cast<int8_t>(ask.is_share() ? best_fit_gpu(node, ask) : -1);
    const int free = node.free_gpus();
    if (free == node.gpus) return {static_cast<int16_t>(std::max(kUnusedNode - free, free)), gpu};
    std::vector<int16_t> usable;
    for (int at = 0; at < node.gpus; ++at)
      if (node.rest[at] >= ask.gpu_milli) usable.push_back(node.rest[at]);
    std::ranges::sort(usable);
    int opened = 0, percent_left = 0;
    for (int at = 0; at < ask.gpus; ++at) {
      opened += usable[at] == kGpuMilli;
      percent_left += usable[at] * 100 / kGpuMilli;
    }
    if (opened > 0) return {static_cast<int16_t>(std::max(kFreeGpuOfUsedNode - opened, kUnusedNode)), gpu};
    return {static_cast<int16_t>(std::max(kPartlyUsed - percent_left / 10, kFreeGpuOfUsedNode)), gpu};
  }
};

}  // namespace

std::unique_ptr<Policy> make_packing() {
  return std::make_unique<Packing>();
}

}  // namespace tweendeck::sim

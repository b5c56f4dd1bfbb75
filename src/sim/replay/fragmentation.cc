#include "sim/replay/fragmentation.h"

#include <array>

namespace tweendeck::sim {

namespace {

// The published categories in their order; F sums all but the satisfied rest.
enum Category {
  kLackBoth,
  kLackGpu,
  kSatisfied,
  kLackCpu,
  kNoGpuWanted,
  kNoGpuWantedLackCpu,
  kNoAccess,
  kCategories
};

}  // namespace

double fragmented_milli(const NodeState& node, const std::vector<TypicalPod>& typical) {
  std::array<double, kCategories> milli{};
  const int32_t idle = node.free_milli();
  for (const TypicalPod& pod : typical) {
    const bool cpu_fits = node.cpu_milli >= pod.ask.cpu_milli;
    if (pod.ask.gpus == 0) {
      milli[cpu_fits ? kNoGpuWanted : kNoGpuWantedLackCpu] += idle * pod.popularity;
    } else if (!node.has_model(pod.ask)) {
      milli[kNoAccess] += idle * pod.popularity;
    } else if (!gpu_fits(node, pod.ask)) {
      milli[cpu_fits ? kLackGpu : kLackBoth] += idle * pod.popularity;
    } else if (!cpu_fits) {
      milli[kLackCpu] += idle * pod.popularity;
    } else {
      int32_t too_small = 0;
      for (int gpu = 0; gpu < node.gpus; ++gpu)
        if (node.rest[gpu] < pod.ask.gpu_milli) too_small += node.rest[gpu];
      milli[kLackGpu] += too_small * pod.popularity;
      milli[kSatisfied] += (idle - too_small) * pod.popularity;
    }
  }
  double sum = 0;
  for (int category = 0; category < kCategories; ++category)
    if (category != kSatisfied) sum += milli[category];
  return sum;
}

}  // namespace tweendeck::sim

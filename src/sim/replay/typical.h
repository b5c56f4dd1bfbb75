// The typical pods of a workload: the mix that fragmentation is measured against. Pure.
#pragma once

#include <vector>

#include "sim/replay/node_state.h"

namespace tweendeck::sim {

struct TypicalPod {
  Ask ask;
  double popularity = 0;  // they sum to 1
};

inline constexpr double kTypicalCover = 0.95;  // of the pods, as published

// Distinct (CPU, GPU share, GPUs, gpu_spec) of the list by number of pods, most first, equal numbers by the same
// four keys in that order, largest first, until kTypicalCover of the pods are covered (FGD simulator,
// pkg/simulator, and its tie rule: another order of the rare shapes moves FGD by up to 0.3 points).
std::vector<TypicalPod> typical_pods(const PodList& pods);

}  // namespace tweendeck::sim

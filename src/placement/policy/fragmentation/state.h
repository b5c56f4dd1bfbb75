// What the policy distinguishes about a node: a compact key that many nodes share.
//
// Nodes of one state have one score for a request, so a decision looks at states, of which a cluster of
// 20,000 nodes has a few hundred, and not at nodes. CPU is rounded down; the rest of a device is rounded down to what
// the learned slices can fill; which of several equal devices has which rest does not matter.
#pragma once

#include <array>
#include <cstdint>

#include "placement/cluster/facts.h"

namespace tweendeck::placement::fragmentation {

inline constexpr uint32_t kCpuStep = 2000;    // milli
inline constexpr uint32_t kMemorySteps = 16;  // of a device's memory
inline constexpr uint32_t kWholeRest = 1000;  // permille

// Rest of one device: permille of compute left and memory steps left.
using Rest = uint16_t;
constexpr Rest make_rest(uint32_t permille, uint32_t memory_steps) {
  return static_cast<Rest>(memory_steps << 10 | permille);
}
constexpr uint32_t rest_permille(Rest rest) {
  return rest & 1023u;
}
constexpr uint32_t rest_memory(Rest rest) {
  return rest >> 10;
}
constexpr uint32_t memory_permille(uint32_t steps) {
  return steps * 1000 / kMemorySteps;
}

struct alignas(8) State {
  uint16_t type = 0;  // of the node, or the pool of equal devices for what only depends on those
  uint16_t cpu = 0;   // in kCpuStep
  uint8_t devices = 0;
  std::array<uint8_t, 3> unused{};
  std::array<Rest, kMaxDevicesPerNode> rests{};  // within each group of equal devices the largest first

  bool operator==(const State&) const = default;
  uint32_t cpu_milli() const { return cpu * kCpuStep; }
};

uint64_t hash_of(const State& state);

// Puts rests[at] where it belongs after it got smaller, within [at, end).
inline void sink(State& state, uint32_t at, uint32_t end) {
  for (; at + 1 < end && state.rests[at] < state.rests[at + 1]; ++at) {
    const Rest rest = state.rests[at];
    state.rests[at] = state.rests[at + 1];
    state.rests[at + 1] = rest;
  }
}

}  // namespace tweendeck::placement::fragmentation

// What a published policy sees of a node, and what a placement does to it. Pure.
//
// Memory is not part of it: it bars nodes but enters no score (FGD, ATC'23, and its simulator).
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>

#include "sim/trace/cluster_trace.h"

namespace tweendeck::sim {

// Classes of GPU pods, as the Clustering policy tells them apart; one bit each.
enum PodClass : uint8_t { kShare = 1, kOneGpu = 2, kTwoGpus = 4, kFourGpus = 8, kEightGpus = 16 };

struct Ask {
  int32_t cpu_milli = 0;
  uint8_t gpus = 0;
  int16_t gpu_milli = 0;
  uint32_t models = kAnyModel;
  bool is_share() const { return gpus == 1 && gpu_milli < kGpuMilli; }
  int32_t asked_milli() const { return gpus * gpu_milli; }
  bool operator==(const Ask&) const = default;
};

// 0 for CPU-only pods. Counts between the classes belong to the class below.
inline uint8_t class_of(const Ask& ask) {
  if (ask.gpus == 0) return 0;
  if (ask.is_share()) return kShare;
  return ask.gpus >= 8 ? kEightGpus : ask.gpus >= 4 ? kFourGpus : ask.gpus >= 2 ? kTwoGpus : kOneGpu;
}

struct NodeState {
  int32_t cpu_milli = 0;                 // left
  std::array<int16_t, kMaxGpus> rest{};  // left of each GPU
  uint8_t gpus = 0;
  uint8_t model = 0;
  uint8_t classes = 0;  // of the GPU pods that it holds
  bool operator==(const NodeState&) const = default;

  int32_t free_milli() const {
    int32_t sum = 0;
    for (int gpu = 0; gpu < gpus; ++gpu) sum += rest[gpu];
    return sum;
  }
  int free_gpus() const { return static_cast<int>(std::count(rest.begin(), rest.begin() + gpus, kGpuMilli)); }
  bool has_model(const Ask& ask) const { return (ask.models >> model & 1) != 0; }
};

inline bool gpu_fits(const NodeState& node, const Ask& ask) {
  if (ask.gpus == 0) return true;
  if (!ask.is_share()) return node.free_gpus() >= ask.gpus;
  return std::any_of(node.rest.begin(), node.rest.begin() + node.gpus,
                     [&](int16_t rest) { return rest >= ask.gpu_milli; });
}

inline bool fits(const NodeState& node, const Ask& ask) {
  return node.cpu_milli >= ask.cpu_milli && (ask.gpus == 0 || node.has_model(ask)) && gpu_fits(node, ask);
}

// The GPUs that a pod gets: `gpu` for a share, the first fully free ones for whole GPUs. Bit i = GPU i.
inline uint8_t gpus_taken(const NodeState& node, const Ask& ask, int gpu) {
  if (ask.gpus == 0) return 0;
  if (ask.is_share()) return static_cast<uint8_t>(1u << gpu);
  uint8_t taken = 0;
  for (int at = 0, left = ask.gpus; left > 0 && at < node.gpus; ++at) {
    if (node.rest[at] != kGpuMilli) continue;
    taken |= static_cast<uint8_t>(1u << at);
    --left;
  }
  return taken;
}

// `node` after `ask` got the GPUs `taken`.
inline NodeState after(NodeState node, const Ask& ask, uint8_t taken) {
  node.cpu_milli -= ask.cpu_milli;
  for (int at = 0; at < node.gpus; ++at)
    if ((taken >> at & 1) != 0) node.rest[at] = static_cast<int16_t>(node.rest[at] - ask.gpu_milli);
  node.classes |= class_of(ask);
  return node;
}

// The smallest rest that fits, the first on ties: the GPU choice of all published policies but FGD. -1: none.
inline int best_fit_gpu(const NodeState& node, const Ask& ask) {
  int best = -1;
  for (int at = 0; at < node.gpus; ++at)
    if (node.rest[at] >= ask.gpu_milli && (best < 0 || node.rest[at] < node.rest[best])) best = at;
  return best;
}

}  // namespace tweendeck::sim

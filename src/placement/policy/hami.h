// HAMi's two-level policies (Project-HAMi/HAMi at 4707fb0: pkg/scheduler/policy, score.go, device/nvidia Fit), in
// integers and with ties that do not depend on map order.
//
// Node: used slices / their limit + compute used + memory used over the node's devices, before the claim; `binpack`
// takes the highest, `spread` the lowest. Device: the same sum of one device with the claim on it, each part
// weighted. The device policy is a chain, first key first:
//   binpack, spread   highest or lowest score first
//   numa              higher NUMA node first
//   mutex             devices that nobody uses first. HAMi refuses others; a policy here never does, and a claim
//                     that must not share says so itself (Prefer::Mutex)
//   topology-aware    of all combinations the best linked; for one device the worst linked
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "placement/policy/device_choice.h"
#include "placement/policy/indexed_policy.h"

namespace tweendeck::placement {

struct HamiWeights {  // `hami.io/device-scoring-weights`; 1000 = 1
  int64_t slot = 1000;
  int64_t core = 1000;
  int64_t memory = 1000;
};

class HamiScorer {
 public:
  // `devices` is the chain, comma separated. InvalidArgument names the word that is not known.
  static Result<HamiScorer> make(std::string_view node, std::string_view devices, HamiWeights weights);

  std::string_view name() const { return "hami"; }
  void arrived(ShapeId) {}
  void departed(ShapeId) {}
  uint64_t epoch(const Cluster&) { return 0; }
  int32_t score(const Cluster& cluster, NodeIndex node, ShapeId shape) const;
  uint16_t pick(const Cluster& cluster, NodeIndex node, ShapeId shape) const;
  std::vector<ScoreTerm> terms(const Cluster& cluster, ShapeId shape, const Spot& spot) const;

 private:
  enum class Key : uint8_t { Binpack, Spread, Numa };
  int64_t node_use(const Cluster& cluster, NodeIndex node) const;
  int64_t device_use(const Cluster& cluster, NodeIndex node, ShapeId shape, uint32_t device) const;
  std::optional<uint16_t> devices(const Cluster& cluster, NodeIndex node, ShapeId shape) const;
  std::optional<uint16_t> best_linked(const Cluster& cluster, NodeIndex node, ShapeId shape) const;

  bool node_binpack_ = true;
  std::vector<Key> chain_;
  bool mutex_ = false;
  bool topology_ = false;
  HamiWeights weights_;
};

}  // namespace tweendeck::placement

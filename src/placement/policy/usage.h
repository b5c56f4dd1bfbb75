// binpack and spread: the fullest or the emptiest node and devices by weighted use.
//
// Use of a node = sum over the weighted dimensions of used / capacity, before the claim is put there: taken after,
// small nodes would look full (91.7 against 94.3 % allocation on the openb trace, facts of FGD's replay).
#pragma once

#include <string_view>
#include <vector>

#include "placement/policy/indexed_policy.h"

namespace tweendeck::placement {

struct UsageWeights {  // 1000 = 1
  int64_t compute = 1000;
  int64_t memory = 1000;
  int64_t cpu = 1000;
};

class UsageScorer {
 public:
  UsageScorer(bool pack, UsageWeights weights) : pack_(pack), weights_(weights) {}
  std::string_view name() const { return pack_ ? "binpack" : "spread"; }
  void arrived(ShapeId) {}
  void departed(ShapeId) {}
  uint64_t epoch(const Cluster&) { return 0; }
  int32_t score(const Cluster& cluster, NodeIndex node, ShapeId shape) const;
  uint16_t pick(const Cluster& cluster, NodeIndex node, ShapeId shape) const;
  std::vector<ScoreTerm> terms(const Cluster& cluster, ShapeId shape, const Spot& spot) const;

 private:
  bool pack_;
  UsageWeights weights_;
};

}  // namespace tweendeck::placement

// A policy chooses among the spots that fit. It never decides whether a claim fits: where any spot fits, a policy
// returns one (a price, never a filter), and none otherwise.
//
// Deterministic: the same calls give the same choices on every machine and compiler; scores are integers
// (higher is better), ties go to the lower node index. Not safe for concurrent use.
#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "placement/cluster/cluster.h"

namespace tweendeck::placement {

// A part of a score, for `why`. Fixed point: 1000 = 1.
struct ScoreTerm {
  std::string_view name;
  int64_t value = 0;
};

struct Choice {
  Spot spot;
  int64_t score = 0;
};

// Nodes that may be used beside what fits; empty = all. For gangs within a domain and for spread.
struct Narrowing {
  const std::vector<bool>* nodes = nullptr;          // by index; nullptr = all
  const std::vector<uint32_t>* residency = nullptr;  // by index: how much of the weights lies there, permille
};

class Policy {
 public:
  virtual ~Policy() = default;
  virtual std::string_view name() const = 0;
  // A claim of the shape arrived (placed or not): what a policy learns from. Called before `choose`.
  virtual void arrived(ShapeId shape) = 0;
  // A claim of the shape ended.
  virtual void departed(ShapeId shape) = 0;
  // Reads the cluster's changes since its last call by itself.
  virtual std::optional<Choice> choose(const Cluster& cluster, ShapeId shape, const Narrowing& narrowing) = 0;
  // Work that can wait until a decision is out: call it after each one, or not at all, decisions are the same.
  virtual void settle(const Cluster& cluster) { static_cast<void>(cluster); }
  // The terms of the score that `choose` would give this spot now.
  virtual std::vector<ScoreTerm> terms(const Cluster& cluster, ShapeId shape, const Spot& spot) = 0;
};

}  // namespace tweendeck::placement

// Scores of a policy, each (node state, ask) computed once. Makes a replay of the published experiment take a fraction
// of a second: 1,213 nodes are in few states, and a placement changes one of them. Not for several threads.
#pragma once

#include <unordered_map>
#include <vector>

#include "sim/replay/policy.h"
#include "sim/replay/state_hash.h"

namespace tweendeck::sim {

class ScoreCache {
 public:
  // About 2 bytes per state and ask. Past it the owner of the ids must clear() and intern its nodes again.
  static constexpr size_t kMaxScores = 100'000'000;

  ScoreCache(Policy& policy, std::vector<Ask> asks) : policy_(policy), asks_(std::move(asks)) {}

  uint32_t intern(const NodeState& node) {
    auto [at, is_new] = ids_.try_emplace(node, static_cast<uint32_t>(states_.size()));
    if (is_new) {
      states_.push_back(node);
      scores_.resize(states_.size() * asks_.size());
    }
    return at->second;
  }
  // value -1: the ask does not fit the state.
  Score get(uint32_t state, uint32_t ask) {
    Packed& packed = scores_[state * asks_.size() + ask];
    if (packed.value == kUnknown) packed = compute(state, ask);
    return {packed.value, packed.gpu};
  }
  bool full() const { return scores_.size() >= kMaxScores; }
  void clear() {
    ids_.clear();
    states_.clear();
    scores_.clear();
  }
  const std::vector<Ask>& asks() const { return asks_; }

 private:
  static constexpr int8_t kUnknown = -2;
  struct Packed {
    int8_t value = kUnknown;
    int8_t gpu = -1;
  };
  Packed compute(uint32_t state, uint32_t ask) {
    if (!fits(states_[state], asks_[ask])) return {-1, -1};
    Score score = policy_.score(states_[state], asks_[ask]);
    return {static_cast<int8_t>(score.value), score.gpu};
  }

  Policy& policy_;
  std::vector<Ask> asks_;
  std::unordered_map<NodeState, uint32_t, StateHash> ids_;
  std::vector<NodeState> states_;
  std::vector<Packed> scores_;
};

}  // namespace tweendeck::sim

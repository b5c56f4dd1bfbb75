// The claims that run, as preemption and defragmentation see them: by node, by gang, by disruption budget.
#pragma once

#include <cstdint>
#include <span>
#include <unordered_map>
#include <vector>

#include "placement/cluster/cluster.h"
#include "placement/queue/queues.h"

namespace tweendeck::placement {

using ClaimId = uint64_t;
using GangId = uint64_t;
using BudgetId = uint64_t;
inline constexpr GangId kNoGang = 0;
inline constexpr BudgetId kNoBudget = 0;

struct RunningClaim {
  ClaimId id = 0;
  Spot spot{};
  ShapeId shape = 0;
  QueueId queue = kRootQueue;
  int32_t priority = 0;
  GangId gang = kNoGang;
  uint32_t role = 0;  // of the gang
  BudgetId budget = kNoBudget;
  bool preemptible = true;  // by others; false also keeps the defragmentation advisor away
  int64_t started_ms = 0;
  int64_t min_runtime_ms = 0;  // left alone for so long
  Amounts charged{};           // to its queue
};

inline constexpr uint32_t kAnyNumberUnavailable = UINT32_MAX;

class RunningClaims {
 public:
  using Index = uint32_t;  // dense; used again after a removal
  static constexpr Index kNone = UINT32_MAX;

  void add(const RunningClaim& claim);  // an id that runs already is replaced
  bool remove(ClaimId id);              // false when unknown
  Index find(ClaimId id) const;
  const RunningClaim& at(Index index) const { return claims_[index]; }
  size_t size() const { return indices_.size(); }
  size_t index_limit() const { return claims_.size(); }  // indices are below it
  bool used(Index index) const { return used_[index]; }

  std::span<const Index> on_node(NodeIndex node) const;
  std::span<const Index> of_gang(GangId gang) const;
  size_t nodes() const { return by_node_.size(); }

  // Of a gang that keeps fewer in any role, nothing is left that is worth keeping. None = its members are
  // independent.
  void set_gang_minimum(GangId gang, std::vector<uint32_t> by_role);
  std::span<const uint32_t> gang_minimum(GangId gang) const;  // by role; roles beyond it need nobody

  // What a disruption budget (PDB) allows: at least `min_available` of its claims keep running, and at most
  // `max_unavailable` of those that are expected to do not.
  void set_budget(BudgetId budget, uint32_t min_available, uint32_t max_unavailable = kAnyNumberUnavailable);
  // Claims that should run, whether they do or not: one came, one ended.
  void expect(BudgetId budget);
  void expect_no_more(BudgetId budget);
  // How many of its claims may be stopped now.
  uint32_t disruptions_allowed(BudgetId budget) const;
  size_t budgets() const { return budgets_.size(); }

 private:
  struct Budget {
    uint32_t min_available = 0;
    uint32_t max_unavailable = kAnyNumberUnavailable;
    uint32_t running = 0;
    uint32_t expected = 0;
  };
  struct Gang {
    std::vector<uint32_t> minimum;  // by role
    std::vector<Index> members;
  };
  void forget_if_empty(BudgetId budget);
  void forget_if_empty_gang(GangId gang);
  std::vector<RunningClaim> claims_;
  std::vector<bool> used_;
  std::vector<Index> free_;
  std::vector<std::vector<Index>> by_node_;
  std::unordered_map<ClaimId, Index> indices_;
  std::unordered_map<GangId, Gang> gangs_;
  std::unordered_map<BudgetId, Budget> budgets_;
};

}  // namespace tweendeck::placement

// Claims that start together or not at all.
//
// Three verdicts, never mixed: Placed (every role has at least its minimum, all within what is required), Infeasible
// (proved: no placement exists in the book as it is) and BudgetExhausted (neither was found within kMaxSearchSteps).
//
// A gang of equal members is decided exactly by counting: the slots of a domain are the sum of those of its nodes,
// kept up to date from the cluster's log of changes (slot_index.h), so the cost is O(domains + members). Roles of
// different shapes compete for the same devices: there necessary conditions come first, then a greedy fill, then a
// bounded complete search (search.h).
//
// A node belongs to a domain only if its rack or block is known; a rack lies in one block. Of the domains that hold all, the tightest is taken. Without any wish about topology every member goes where the
// policy puts it; within a domain few nodes are filled rather than many touched.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/reason.h"
#include "placement/cluster/cluster.h"
#include "placement/gang/slot_index.h"
#include "placement/policy/policy.h"

namespace tweendeck::placement {

inline constexpr uint32_t kMaxGangMembers = 16'384;
inline constexpr size_t kMaxGangRoles = 16;
inline constexpr uint64_t kMaxSearchSteps = 50'000;  // claims tried, over all domains: about ten milliseconds

struct GangRole {
  ShapeId shape = 0;
  uint32_t min = 1;
  uint32_t max = 1;               // at least min; as many as fit are placed
  Level within = Level::Cluster;  // all members of this role in one such domain
  bool operator==(const GangRole&) const = default;
};

struct Gang {
  std::vector<GangRole> roles;
  Level required = Level::Cluster;   // all members in one such domain
  Level preferred = Level::Cluster;  // narrower: tried first
  // Members that run already bind the others to their domain of the required level; kAnyDomain = none run.
  uint32_t domain = kAnyDomain;
  bool operator==(const Gang&) const = default;
};

struct GangMember {
  uint32_t role = 0;
  Spot spot;
};

enum class Outcome : uint8_t { Placed, Infeasible, BudgetExhausted };

struct GangVerdict {
  Outcome outcome = Outcome::Infeasible;
  Reason reason = Reason::None;     // GangTooLarge, SearchBudgetExhausted
  std::vector<GangMember> members;  // placed: in the order in which they were taken
  Area area;                        // placed: where all members lie
  // Not placed: the role that is short in the best domain, what it needs and how many fit there by themselves. When
  // every role fits by itself, `best` is `needed`: together they do not.
  uint32_t role = 0;
  uint32_t needed = 0;
  uint32_t best = 0;
  uint32_t best_domain = 0;  // of the required level
  uint64_t steps = 0;        // of the search
};

class GangPlacer {
 public:
  // Placed: the members are taken in the book (a mark of the caller's undoes them). Otherwise the book is as it was.
  // The same cluster in every call.
  GangVerdict place(Cluster& cluster, Policy& policy, const Gang& gang);

  // How many claims of the shape fit at once, per node and domain; valid until the next call.
  const SlotIndex& slots(const Cluster& cluster, ShapeId shape) { return indices_.of(cluster, shape); }

 private:
  GangVerdict place_equal(Cluster& cluster, const Gang& gang);
  GangVerdict place_roles(Cluster& cluster, const Gang& gang);
  bool try_domain(Cluster& cluster, const Gang& gang, Area area, GangVerdict& verdict);
  bool place_by_policy(Cluster& cluster, Policy& policy, const Gang& gang, GangVerdict& verdict);
  SlotIndices indices_;
};

}  // namespace tweendeck::placement

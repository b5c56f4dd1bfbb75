// Complete search for the minimum of every role inside an area, for roles that compete for the same devices.
//
// Members are placed role by role in rising order of spots, equal devices and equal nodes are exchanged for the
// first of them, and a role whose members do not fit by counting ends a branch at once. What is left out are only
// permutations of what is tried, so `None` is a proof.
#pragma once

#include <compare>
#include <cstdint>
#include <vector>

#include "placement/gang/gang.h"

namespace tweendeck::placement {

// The order in which roles are placed: those that want devices for themselves before others may join them, so that no
// order finds more; then by what room is left beyond the minimum.
struct RoleRank {
  bool joins = true;
  uint64_t slack = 0;
  uint32_t role = 0;
  auto operator<=>(const RoleRank&) const = default;
};
RoleRank rank(const Cluster& cluster, const Gang& gang, uint32_t role, uint64_t room);

enum class Found : uint8_t { Yes, None, BudgetExhausted };

// Yes: the members are taken and listed. `steps` grows up to `budget`.
Found search(Cluster& cluster, const Gang& gang, const std::vector<Area>& areas, uint64_t budget,
             uint64_t& steps, std::vector<GangMember>& members);

}  // namespace tweendeck::placement

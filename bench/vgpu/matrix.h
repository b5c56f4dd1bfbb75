// Which cells there are. Pure; the order is always the same.
#pragma once

#include <vector>

#include "bench/vgpu/cell.h"

namespace tweendeck::bench {

enum class Group {
  Alone,      // one slice: every cap, SMs, kernel length, kind of launch and number of processes
  Tenants,    // tenants of 30 and 70 % on every kind of device and launch, in each execution mode
  Borrowing,  // a floor of 10 to 50 %, a neighbour that is idle and comes back
};
inline constexpr Group kGroups[] = {Group::Alone, Group::Tenants, Group::Borrowing};

std::vector<Cell> all_cells(Group group);

// Of these as few as hold every pair of values of two different properties.
std::vector<Cell> pairwise_cells(Group group);

}  // namespace tweendeck::bench

// Which cells there are. Pure; the order is always the same.
#pragma once

#include <vector>

#include "bench/vgpu/cell.h"

namespace tweendeck::bench {

// Every combination of cap, SMs, kernel length, kind of launch and number of processes, one slice on the
// device; and tenants of 30 and 70 % on every kind of device and launch, in each execution mode; and a
// borrower of a floor of 10 to 50 % whose neighbour is idle and comes back.
std::vector<Cell> all_cells();

// Of these as few as hold every pair of values of two different properties.
std::vector<Cell> pairwise_cells();

}  // namespace tweendeck::bench

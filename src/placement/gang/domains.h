// Choosing a domain by counting, and filling it.
#pragma once

#include <span>
#include <vector>

#include "placement/gang/slot_index.h"

namespace tweendeck::placement {

struct Domain {
  uint32_t id = 0;
  uint32_t slots = 0;
};

// The domains of a level with room for at least one claim, as far as they lie inside all of `areas`, by id.
std::vector<Domain> domains(const Cluster& cluster, const SlotIndex& index, Level level,
                            std::span<const Area> areas);

// The one with fewest slots that has `count`; nullptr when there is none. Ties go to the lowest id.
const Domain* tightest(std::span<const Domain> domains, uint32_t count);
const Domain* largest(std::span<const Domain> domains);

// Takes up to `count` claims inside all of `areas` and appends their spots; returns how many. Whole blocks first,
// whole racks, whole nodes, largest first, and the rest where it fits tightest: few are touched. All that is counted
// is found.
uint32_t fill(Cluster& cluster, const SlotIndex& index, std::span<const Area> areas, uint32_t count,
              std::vector<Spot>& spots);

}  // namespace tweendeck::placement

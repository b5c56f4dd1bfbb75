// Which device came nearest to taking a refused claim, and what it lacks.
#pragma once

#include <vector>

#include "placement/room.h"

namespace tweendeck::placement {

// `rooms` as they are; `filled` with the slices of the claim that fit; `reasons` why each of those takes no
// more.
NearestMiss nearest_miss(const Snapshot& snapshot, const Claim& claim, const std::vector<Room>& rooms,
                         const std::vector<Room>& filled, const std::vector<Reason>& reasons);

}  // namespace tweendeck::placement

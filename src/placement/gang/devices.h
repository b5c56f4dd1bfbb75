// Which devices of a chosen node a claim takes, where no policy is asked. Deterministic.
#pragma once

#include <cstdint>
#include <vector>

#include "placement/cluster/cluster.h"

namespace tweendeck::placement {

inline constexpr uint16_t kAllDevices = 0xFFFF;

// One device: the fullest that has room (the emptiest where spreading is asked for). Several: those with room for
// most claims, so that as many claims follow as `Cluster::slots` counts. Of nearness groups the tightest; a preferred
// nearness is kept where possible if `keep_preference`. 0 = none within `mask`; a claim without devices never fits a
// mask of devices and is not asked about here.
uint16_t choose_devices(const Cluster& cluster, NodeIndex node, ShapeId shape, uint16_t mask = kAllDevices,
                        bool keep_preference = true);

// Takes up to `count` claims on the node and appends their spots; returns how many. All that `Cluster::slots` counts
// are found.
uint32_t take_slots(Cluster& cluster, NodeIndex node, ShapeId shape, uint32_t count, uint16_t mask,
                    std::vector<Spot>& spots);

// Every way to put one claim on the node, up to exchanging devices that are equal in all respects (`exchange`; not
// allowed when a claim to come names devices). At most `limit` ways; the rest is missing when as many are returned.
std::vector<Spot> every_spot(const Cluster& cluster, NodeIndex node, ShapeId shape, uint16_t mask,
                             bool exchange, size_t limit);

}  // namespace tweendeck::placement

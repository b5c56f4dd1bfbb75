// Slices that grow and shrink where they are: the same devices, another shape.
#pragma once

#include <optional>
#include <span>

#include "placement/cluster/cluster.h"

namespace tweendeck::placement {

// Books `to` in place of `from` if there is room on the same devices, and returns where (a partition may start
// elsewhere on its device); otherwise the book is unchanged and nothing is returned. A shape for another number of
// devices never fits in place.
std::optional<Spot> resize_in_place(Cluster& cluster, const Spot& spot, ShapeId from, ShapeId to);

// The first of `sizes` (from the ceiling down to the floor) for which there is room on the same devices. Nothing:
// none has room, and the book is unchanged.
struct Resized {
  ShapeId shape = 0;
  Spot spot;
};
std::optional<Resized> grow_in_place(Cluster& cluster, const Spot& spot, ShapeId from,
                                     std::span<const ShapeId> sizes);

}  // namespace tweendeck::placement

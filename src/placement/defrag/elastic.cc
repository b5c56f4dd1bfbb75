#include "placement/defrag/elastic.h"

#include <bit>

namespace tweendeck::placement {

std::optional<Spot> resize_in_place(Cluster& cluster, const Spot& spot, ShapeId from, ShapeId to) {
  if (std::popcount(spot.devices) != static_cast<int>(cluster.shape(to).request.devices)) return std::nullopt;
  const Cluster::Mark mark = cluster.mark();
  cluster.give(spot, from);
  const bool room = spot.devices == 0
                        ? cluster.fits(spot.node, to)
                        : (cluster.fitting_devices(spot.node, to) & spot.devices) == spot.devices;
  if (room) {
    const Spot there = cluster.spot(spot.node, spot.devices, to);
    if (cluster.fits(there, to)) {
      cluster.take(there, to);
      cluster.commit(mark);
      return there;
    }
  }
  cluster.undo_to(mark);
  return std::nullopt;
}

std::optional<Resized> grow_in_place(Cluster& cluster, const Spot& spot, ShapeId from,
                                     std::span<const ShapeId> sizes) {
  for (const ShapeId shape : sizes) {
    if (const std::optional<Spot> there = resize_in_place(cluster, spot, from, shape))
      return Resized{shape, *there};
  }
  return std::nullopt;
}

}  // namespace tweendeck::placement

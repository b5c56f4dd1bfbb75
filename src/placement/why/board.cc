#include "placement/why/board.h"

#include <algorithm>
#include <bit>
#include <numeric>

#include "placement/why/count.h"

namespace tweendeck::placement {

uint32_t Tally::total() const {
  return std::accumulate(nodes.begin(), nodes.end(), 0u);
}

void Board::drop(NodeIndex node) {
  Place& place = places_[node];
  if (place.segment == UINT32_MAX) return;
  Segment& segment = segments_[place.segment];
  places_[segment.nodes.back()].row = place.row;
  segment.remove_row(place.row);
  place.segment = UINT32_MAX;
}

void Board::refresh(const Cluster& cluster, NodeIndex index) {
  const NodeState& node = cluster.nodes()[index];
  Place& place = places_[index];
  if (place.segment != UINT32_MAX && place.version == node.version) return;
  if (place.segment != UINT32_MAX && (!node.present || place.segment != node.type)) drop(index);
  if (!node.present) return;
  Segment& segment = segments_[node.type];
  if (place.segment == UINT32_MAX) {
    place.segment = node.type;
    place.row = static_cast<uint32_t>(segment.nodes.size());
    segment.add_row(index);
  }
  place.version = node.version;
  segment.write_row(place.row, cluster, index);
}

void Board::catch_up(const Cluster& cluster) {
  const Cluster::Changes changes = cluster.changes_since(cursor_);
  const size_t nodes = cluster.nodes().size();
  const bool anew = !built_ || changes.lost;
  if (anew) {
    segments_.clear();
    places_.clear();
  }
  places_.resize(nodes);
  while (segments_.size() < cluster.types().size())
    segments_.push_back(segment_of(cluster.types()[segments_.size()]));
  if (anew) {
    for (NodeIndex node = 0; node < nodes; ++node) refresh(cluster, node);
  } else {
    for (const NodeIndex node : changes.nodes) refresh(cluster, node);
  }
  built_ = true;
  cursor_ = cluster.cursor();
}

Tally Board::tally(const Cluster& cluster, ShapeId shape) {
  catch_up(cluster);
  if (!cluster.shape(shape).request.device_ids.empty()) return tally_named(cluster, shape);
  Counter counter(cluster, shape);
  for (size_t type = 0; type < segments_.size(); ++type)
    counter.add(segments_[type], static_cast<uint16_t>(type));
  return counter.tally();
}

// Only nodes of named devices can differ from the rest of their type.
Tally Board::tally_named(const Cluster& cluster, ShapeId shape) const {
  Counter counter(cluster, shape);
  std::vector<NodeIndex> named;
  for (const std::string& id : cluster.shape(shape).request.device_ids) {
    const auto device = cluster.find_device(id);
    if (device && places_[device->first].segment != UINT32_MAX) named.push_back(device->first);
  }
  std::ranges::sort(named);
  named.erase(std::ranges::unique(named).begin(), named.end());
  std::vector<size_t> others;
  size_t left = 0;  // segments with nodes of which the lowest was not met yet
  for (const Segment& segment : segments_) others.push_back(segment.nodes.size());
  for (const NodeIndex node : named) {
    counter.add_judged(node);
    --others[places_[node].segment];
  }
  for (const size_t count : others) left += count > 0;
  auto next_named = named.begin();
  for (NodeIndex node = 0; left > 0; ++node) {
    if (next_named != named.end() && *next_named == node) {
      ++next_named;
      continue;
    }
    const uint32_t segment = places_[node].segment;
    if (segment == UINT32_MAX || others[segment] == 0) continue;
    counter.add_alike(node, static_cast<uint32_t>(others[segment]), segments_[segment].columns.size());
    others[segment] = 0;
    --left;
  }
  return counter.tally();
}

NodeIndex Board::closed_with_room(const Cluster& cluster, ShapeId shape) {
  catch_up(cluster);
  const int wanted = static_cast<int>(cluster.shape(shape).request.devices);
  uint32_t looked_at = 0;
  for (size_t type = 0; type < segments_.size(); ++type) {
    const std::set<NodeIndex>& out = segments_[type].out;
    if (out.empty() || std::popcount(cluster.allowed_devices(static_cast<uint16_t>(type), shape)) < wanted)
      continue;
    for (const NodeIndex node : out) {
      if (fits_once_open(cluster, node, shape)) return node;
      if (++looked_at == kMaxReopen) return kNoNode;
    }
  }
  return kNoNode;
}

}  // namespace tweendeck::placement

#include "placement/gang/slot_index.h"

#include <algorithm>

namespace tweendeck::placement {
namespace {

void move_count(std::vector<uint32_t>& sums, uint32_t domain, uint32_t plus, uint32_t minus) {
  if (sums.size() <= domain) sums.resize(domain + 1);
  sums[domain] += plus - minus;
}

}  // namespace

const std::vector<uint32_t>& SlotIndex::by(Level level) const {
  switch (level) {
    case Level::Cluster:
      return total_;
    case Level::Block:
      return blocks_;
    case Level::Rack:
      return racks_;
    case Level::Node:
    case Level::Island:
      break;
  }
  return nodes_;
}

void SlotIndex::count(const Cluster& cluster, NodeIndex index) {
  const NodeState& node = cluster.nodes()[index];
  if (nodes_.size() <= index) {
    nodes_.resize(index + 1);
    homes_.resize(index + 1);
  }
  const uint32_t old = nodes_[index], now = cluster.slots(index, shape_, kMaxNodeSlots);
  Home& home = homes_[index];
  if (old == now && home.rack == node.rack && home.block == node.block) return;
  move_count(racks_, home.rack, 0, old);
  move_count(blocks_, home.block, 0, old);
  home = {node.rack, node.block};
  move_count(racks_, home.rack, now, 0);
  move_count(blocks_, home.block, now, 0);
  total_[0] += now - old;
  nodes_[index] = now;
}

void SlotIndex::catch_up(const Cluster& cluster) {
  const auto changes = cluster.changes_since(cursor_);
  // Past that, reading everything costs less than reading the changes.
  const bool everything = !built_ || changes.lost || changes.nodes.size() > cluster.nodes().size();
  if (everything) {
    for (NodeIndex node = 0; node < cluster.nodes().size(); ++node) count(cluster, node);
    built_ = true;
  } else {
    for (const NodeIndex node : changes.nodes) count(cluster, node);
  }
  cursor_ = cluster.cursor();
}

const SlotIndex& SlotIndices::of(const Cluster& cluster, ShapeId shape) {
  auto found = std::ranges::find_if(indices_, [&](const auto& index) { return index->shape() == shape; });
  if (found == indices_.end()) {
    if (indices_.size() == kTrackedShapes) indices_.pop_back();
    indices_.push_back(std::make_unique<SlotIndex>(shape));
    found = indices_.end() - 1;
  }
  std::rotate(indices_.begin(), found, found + 1);
  indices_.front()->catch_up(cluster);
  return *indices_.front();
}

}  // namespace tweendeck::placement

// How many claims of a shape fit at once on every node, and the sums per rack, per block and over all. Caught up from
// the cluster's log of changes: a change costs one count of one node.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "placement/cluster/cluster.h"

namespace tweendeck::placement {

// Wide to narrow. An island is a group of linked devices within a node.
enum class Level : uint8_t { Cluster, Block, Rack, Node, Island };

inline constexpr uint32_t kAnyDomain = UINT32_MAX;
inline constexpr uint32_t kMaxNodeSlots = 4096;  // counted per node
inline constexpr size_t kTrackedShapes = 64;     // indices kept; the one that was not used for longest goes

// A part of the cluster. Racks and blocks of which nothing is known (0) are no domain of their level; the number of
// an island is its node's times kMaxDevicesPerNode plus that of its group of linked devices. kAnyDomain: all domains of
// the level, which leaves out what belongs to none.
struct Area {
  Level level = Level::Cluster;
  uint32_t domain = 0;
  bool operator==(const Area&) const = default;
};

// The domain of a level in which the node lies; of an island its node is meant.
inline uint32_t domain_of(const NodeState& node, NodeIndex index, Level level) {
  switch (level) {
    case Level::Cluster:
      return 0;
    case Level::Block:
      return node.block;
    case Level::Rack:
      return node.rack;
    case Level::Node:
      break;
    case Level::Island:
      return index * kMaxDevicesPerNode;
  }
  return index;
}

inline bool contains(Area area, const NodeState& node, NodeIndex index) {
  if (area.domain == kAnyDomain) {
    const bool may_be_unknown = area.level == Level::Block || area.level == Level::Rack;
    return node.present && (!may_be_unknown || domain_of(node, index, area.level) != 0);
  }
  const uint32_t domain =
      area.level == Level::Island ? area.domain - area.domain % kMaxDevicesPerNode : area.domain;
  return node.present && domain_of(node, index, area.level) == domain;
}

// The devices of its node that belong to the area.
inline uint16_t devices_of(const Cluster& cluster, Area area) {
  if (area.level != Level::Island || area.domain == kAnyDomain) return 0xFFFF;
  const uint16_t type = cluster.nodes()[area.domain / kMaxDevicesPerNode].type;
  return cluster.near_groups(type, Near::SameIsland)[area.domain % kMaxDevicesPerNode];
}

class SlotIndex {
 public:
  explicit SlotIndex(ShapeId shape) : shape_(shape) {}
  void catch_up(const Cluster& cluster);

  ShapeId shape() const { return shape_; }
  // By domain; Level::Island has those of nodes.
  const std::vector<uint32_t>& by(Level level) const;
  const std::vector<uint32_t>& nodes() const { return nodes_; }

 private:
  struct Home {
    uint32_t rack = 0, block = 0;
  };
  void count(const Cluster& cluster, NodeIndex node);

  ShapeId shape_;
  bool built_ = false;
  uint64_t cursor_ = 0;
  std::vector<Home> homes_;  // where the node's slots are counted
  std::vector<uint32_t> nodes_, racks_, blocks_;
  std::vector<uint32_t> total_ = {0};
};

class SlotIndices {
 public:
  // Caught up; valid until the next call for another shape than the last kTrackedShapes.
  const SlotIndex& of(const Cluster& cluster, ShapeId shape);

 private:
  std::vector<std::unique_ptr<SlotIndex>> indices_;  // last used first
};

}  // namespace tweendeck::placement

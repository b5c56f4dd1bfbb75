// What fits where: const, and the hottest code of placement.
#include <algorithm>
#include <bit>

#include "placement/cluster/broken.h"
#include "placement/cluster/cluster.h"
#include "placement/cluster/partitions.h"

namespace tweendeck::placement {

bool Cluster::host_fits(const NodeState& node, const Ask& ask) const {
  return node.cpu_free_milli >= ask.cpu_milli && node.memory_free_bytes >= ask.node_memory_bytes;
}

SliceSize Cluster::slice_size(uint16_t type, ShapeId shape, uint32_t device) const {
  const Need& need = needs_[shape][type];
  if (need.uniform && (need.allowed >> device & 1) != 0) {
    return {static_cast<uint64_t>(need.memory_bytes), need.compute_permille, kNoProfile, true};
  }
  if (!need.uniform) return sizes_[shape][type][device];
  return placement::slice_size(types_[type].facts.devices[device], shapes_[shape].request);
}

bool Cluster::slice_fits(const NodeState& node, uint32_t device, const SliceSize& size) const {
  if (node.compute_free[device] < size.compute_permille ||
      node.memory_free[device] < static_cast<int64_t>(size.memory_bytes)) {
    return false;
  }
  if (size.profile == kNoProfile) return true;
  const PartitionProfile& profile = types_[node.type].facts.devices[device].partitions[size.profile];
  return partitions_left(node.partition_slots[device], profile) > 0;
}

uint16_t Cluster::fitting_devices(NodeIndex index, ShapeId shape) const {
  const NodeState& node = nodes_[index];
  const Ask& ask = asks_[shape];
  const Need& need = needs_[shape][node.type];
  uint32_t candidates = node.open & need.allowed;
  if (candidates == 0 || ask.devices == 0 || !host_fits(node, ask)) return 0;
  if (ask.whole_only) candidates &= node.whole;
  if (ask.named) {
    const auto& named = named_.at(shape);
    const auto it = named.find(index);
    candidates &= it == named.end() ? 0u : it->second;
  }
  uint32_t fitting = 0;
  if (need.uniform) {
    for (uint32_t rest = candidates; rest != 0; rest &= rest - 1) {
      const auto device = static_cast<uint32_t>(std::countr_zero(rest));
      const bool fits =
          node.compute_free[device] >= need.compute_permille && node.memory_free[device] >= need.memory_bytes;
      fitting |= static_cast<uint32_t>(fits) << device;
    }
  } else {
    for (uint32_t rest = candidates; rest != 0; rest &= rest - 1) {
      const auto device = static_cast<uint32_t>(std::countr_zero(rest));
      const bool fits = slice_fits(node, device, slice_size(node.type, shape, device));
      fitting |= static_cast<uint32_t>(fits) << device;
    }
  }
  return std::popcount(fitting) < ask.devices ? 0 : static_cast<uint16_t>(fitting);
}

bool Cluster::near_enough(const NodeState& node, uint16_t devices, const Ask& ask) const {
  if (ask.near == Near::Anywhere) return true;
  return std::ranges::any_of(near_groups(node.type, ask.near), [&](uint16_t group) {
    return std::popcount(static_cast<uint16_t>(group & devices)) >= ask.devices;
  });
}

bool Cluster::fits(NodeIndex index, ShapeId shape) const {
  const NodeState& node = nodes_[index];
  const Ask& ask = asks_[shape];
  if (ask.devices == 0) return node.present && !node.cordoned && host_fits(node, ask);
  const uint16_t fitting = fitting_devices(index, shape);
  return fitting != 0 && near_enough(node, fitting, ask);
}

bool Cluster::fits(const Spot& spot, ShapeId shape) const {
  if (spot.node >= nodes_.size()) return false;
  const NodeState& node = nodes_[spot.node];
  const Ask& ask = asks_[shape];
  if (ask.devices == 0) return spot.devices == 0 && fits(spot.node, shape);
  const uint16_t fitting = fitting_devices(spot.node, shape);
  if ((spot.devices & ~fitting) != 0 || std::popcount(spot.devices) != ask.devices) return false;
  if (!near_enough(node, spot.devices, ask)) return false;
  if (needs_[shape][node.type].uniform) return true;
  for (uint32_t rest = spot.devices; rest != 0; rest &= rest - 1) {
    const auto device = static_cast<uint32_t>(std::countr_zero(rest));
    const SliceSize size = slice_size(node.type, shape, device);
    if (size.profile == kNoProfile) continue;
    const PartitionProfile& profile = types_[node.type].facts.devices[device].partitions[size.profile];
    if (!partition_free(node.partition_slots[device], profile, spot.partition_starts[device])) return false;
  }
  return true;
}

Spot Cluster::spot(NodeIndex index, uint16_t devices, ShapeId shape) const {
  const NodeState& node = nodes_[index];
  Spot spot{index, devices, {}};
  if (needs_[shape][node.type].uniform) return spot;
  for (uint32_t rest = devices; rest != 0; rest &= rest - 1) {
    const auto device = static_cast<uint32_t>(std::countr_zero(rest));
    const SliceSize size = slice_size(node.type, shape, device);
    if (size.profile == kNoProfile) continue;
    const auto start = partition_start(node.partition_slots[device],
                                       types_[node.type].facts.devices[device].partitions, size.profile);
    if (!start) broken("a spot was asked for on a device without room");
    spot.partition_starts[device] = *start;
  }
  return spot;
}

uint32_t Cluster::device_slots(const NodeState& node, ShapeId shape, uint32_t device, uint32_t limit) const {
  if (asks_[shape].whole_only) limit = std::min(limit, node.whole >> device & 1u);
  const DeviceFacts& facts = types_[node.type].facts.devices[device];
  limit = std::min<uint32_t>(limit, facts.max_claims - std::min(facts.max_claims, node.claims[device]));
  const SliceSize size = slice_size(node.type, shape, device);
  if (size.memory_bytes > 0) {
    const auto free = static_cast<uint64_t>(std::max<int64_t>(0, node.memory_free[device]));
    limit = static_cast<uint32_t>(std::min<uint64_t>(limit, free / size.memory_bytes));
  }
  if (size.compute_permille > 0) {
    limit = std::min<uint32_t>(limit, node.compute_free[device] / size.compute_permille);
  }
  if (size.profile != kNoProfile) {
    limit = std::min(limit, partitions_left(node.partition_slots[device], facts.partitions[size.profile]));
  }
  return limit;
}

// c claims of k devices each fit if each device serves at most c of them and all together k * c (Gale-Ryser: a
// 0/1 matrix with these row and column sums exists). That holds for every smaller c too.
uint32_t Cluster::group_slots(const NodeState& node, ShapeId shape, uint16_t group, uint32_t limit) const {
  const uint64_t k = asks_[shape].devices;
  std::array<uint32_t, kMaxDevicesPerNode> room{};
  uint64_t total = 0;
  for (uint32_t rest = group; rest != 0; rest &= rest - 1) {
    const auto device = static_cast<uint32_t>(std::countr_zero(rest));
    room[device] = device_slots(node, shape, device, limit);
    total += room[device];
  }
  uint32_t fits = 0;
  auto too_many = static_cast<uint32_t>(std::min<uint64_t>(limit, total / k) + 1);
  while (too_many - fits > 1) {
    const uint32_t claims = fits + (too_many - fits) / 2;
    uint64_t served = 0;
    for (const uint32_t slots : room) served += std::min(slots, claims);
    (served >= k * claims ? fits : too_many) = claims;
  }
  return fits;
}

uint32_t Cluster::slots(NodeIndex index, ShapeId shape, uint32_t limit, uint16_t within) const {
  const NodeState& node = nodes_[index];
  const Ask& ask = asks_[shape];
  if (limit == 0 || !fits(index, shape)) return 0;
  if (ask.cpu_milli > 0) limit = std::min(limit, static_cast<uint32_t>(node.cpu_free_milli / ask.cpu_milli));
  if (ask.node_memory_bytes > 0) {
    limit = static_cast<uint32_t>(std::min<int64_t>(limit, node.memory_free_bytes / ask.node_memory_bytes));
  }
  if (ask.devices == 0) return limit;
  const auto fitting = static_cast<uint16_t>(fitting_devices(index, shape) & within);
  uint32_t slots = 0;
  for (const uint16_t group : near_groups(node.type, ask.near)) {
    slots += group_slots(node, shape, group & fitting, limit - slots);
  }
  return slots;
}

}  // namespace tweendeck::placement

#include "placement/gang/devices.h"

#include <algorithm>
#include <array>
#include <bit>

#include "placement/cluster/partitions.h"

namespace tweendeck::placement {
namespace {

uint16_t bit(uint32_t device) {
  return static_cast<uint16_t>(1u << device);
}

// Claims of the shape that the device takes one after the other.
uint32_t room(const Cluster& cluster, const NodeState& node, ShapeId shape, uint32_t device) {
  const DeviceFacts& facts = cluster.types()[node.type].facts.devices[device];
  uint32_t room = facts.max_claims - std::min(facts.max_claims, node.claims[device]);
  const Request& request = cluster.shape(shape).request;
  if (request.exclusive || request.prefer == Prefer::Mutex) room = std::min(room, 1u);
  const SliceSize size = cluster.slice_size(node.type, shape, device);
  if (size.memory_bytes > 0) {
    const auto free = static_cast<uint64_t>(std::max<int64_t>(0, node.memory_free[device]));
    room = static_cast<uint32_t>(std::min<uint64_t>(room, free / size.memory_bytes));
  }
  if (size.compute_permille > 0)
    room = std::min<uint32_t>(room, node.compute_free[device] / size.compute_permille);
  if (size.profile != kNoProfile) {
    room = std::min(room, partitions_left(node.partition_slots[device], facts.partitions[size.profile]));
  }
  return room;
}

uint16_t tightest_group(std::span<const uint16_t> groups, uint16_t fitting, uint32_t count) {
  uint16_t best = 0;
  for (const uint16_t group : groups) {
    const auto candidates = static_cast<uint16_t>(group & fitting);
    if (std::popcount(candidates) < static_cast<int>(count)) continue;
    if (best == 0 || std::popcount(candidates) < std::popcount(best)) best = candidates;
  }
  return best;
}

uint16_t pick(const Cluster& cluster, const NodeState& node, ShapeId shape, uint16_t candidates,
              uint32_t count) {
  const bool spread = cluster.shape(shape).request.prefer == Prefer::Spread;
  std::array<uint32_t, kMaxDevicesPerNode> rooms{};
  for (uint32_t rest = count > 1 ? candidates : 0; rest != 0; rest &= rest - 1) {
    const auto device = static_cast<uint32_t>(std::countr_zero(rest));
    rooms[device] = room(cluster, node, shape, device);
  }
  const auto better = [&](uint32_t a, uint32_t b) {
    if (count > 1 && rooms[a] != rooms[b]) return rooms[a] > rooms[b];
    if (node.compute_free[a] != node.compute_free[b])
      return (node.compute_free[a] < node.compute_free[b]) != spread;
    if (node.memory_free[a] != node.memory_free[b])
      return (node.memory_free[a] < node.memory_free[b]) != spread;
    return false;
  };
  uint16_t chosen = 0;
  for (uint32_t k = 0; k < count; ++k) {
    uint32_t best = kMaxDevicesPerNode;
    for (uint32_t rest = candidates & ~chosen; rest != 0; rest &= rest - 1) {
      const auto device = static_cast<uint32_t>(std::countr_zero(rest));
      if (best == kMaxDevicesPerNode || better(device, best)) best = device;
    }
    chosen |= bit(best);
  }
  return chosen;
}

}  // namespace

uint16_t choose_devices(const Cluster& cluster, NodeIndex index, ShapeId shape, uint16_t mask,
                        bool keep_preference) {
  const NodeState& node = cluster.nodes()[index];
  const Request& request = cluster.shape(shape).request;
  const auto fitting = static_cast<uint16_t>(cluster.fitting_devices(index, shape) & mask);
  if (std::popcount(fitting) < static_cast<int>(request.devices) || fitting == 0) return 0;
  uint16_t candidates = fitting;
  if (request.near != Near::Anywhere && (request.near_required || keep_preference)) {
    const uint16_t group =
        tightest_group(cluster.near_groups(node.type, request.near), fitting, request.devices);
    if (group == 0 && request.near_required) return 0;
    if (group != 0) candidates = group;
  }
  return pick(cluster, node, shape, candidates, request.devices);
}

uint32_t take_slots(Cluster& cluster, NodeIndex node, ShapeId shape, uint32_t count, uint16_t mask,
                    std::vector<Spot>& spots) {
  const Request& request = cluster.shape(shape).request;
  const bool prefers = request.near != Near::Anywhere && !request.near_required && request.devices > 1;
  // A preferred nearness may cost slots; then all are taken again without it.
  for (const bool keep_preference : {true, false}) {
    const size_t before = spots.size();
    uint32_t taken = 0;
    while (taken < count) {
      Spot spot{node, 0, {}};
      if (request.devices == 0) {
        if (!cluster.fits(node, shape)) break;
      } else {
        const uint16_t devices = choose_devices(cluster, node, shape, mask, keep_preference);
        if (devices == 0) break;
        spot = cluster.spot(node, devices, shape);
      }
      cluster.take(spot, shape);
      spots.push_back(spot);
      ++taken;
    }
    if (taken == count || !keep_preference || !prefers) return taken;
    while (spots.size() > before) {
      cluster.give(spots.back(), shape);
      spots.pop_back();
    }
  }
  return 0;
}

std::vector<Spot> every_spot(const Cluster& cluster, NodeIndex index, ShapeId shape, uint16_t mask,
                             bool exchange, size_t limit) {
  const NodeState& node = cluster.nodes()[index];
  const Request& request = cluster.shape(shape).request;
  std::vector<Spot> spots;
  if (request.devices == 0) {
    if (cluster.fits(index, shape)) spots.push_back({index, 0, {}});
    return spots;
  }
  const auto fitting = static_cast<uint16_t>(cluster.fitting_devices(index, shape) & mask);
  if (fitting == 0) return spots;
  const std::vector<DeviceFacts>& devices = cluster.types()[node.type].facts.devices;
  const auto equal = [&](uint32_t a, uint32_t b) {
    return node.compute_free[a] == node.compute_free[b] && node.memory_free[a] == node.memory_free[b] &&
           node.claims[a] == node.claims[b] && node.partition_slots[a] == node.partition_slots[b] &&
           devices[a] == devices[b];
  };
  // Of equal devices only the first ones are taken.
  std::array<uint16_t, kMaxDevicesPerNode> earlier_equal{};
  for (uint32_t a = 0; exchange && a < node.device_count; ++a) {
    for (uint32_t b = 0; b < a; ++b) {
      if ((fitting >> b & 1) != 0 && equal(a, b)) earlier_equal[a] |= bit(b);
    }
  }
  for (uint32_t set = fitting; set != 0 && spots.size() < limit; set = (set - 1) & fitting) {
    if (std::popcount(set) != static_cast<int>(request.devices)) continue;
    bool first = true;
    for (uint32_t rest = set; rest != 0 && first; rest &= rest - 1) {
      const uint16_t earlier = earlier_equal[static_cast<size_t>(std::countr_zero(rest))];
      first = (earlier & ~set) == 0;
    }
    if (!first) continue;
    // Every start of every partition.
    std::vector<Spot> ways = {{index, static_cast<uint16_t>(set), {}}};
    for (uint32_t rest = set; rest != 0; rest &= rest - 1) {
      const auto device = static_cast<uint32_t>(std::countr_zero(rest));
      const SliceSize size = cluster.slice_size(node.type, shape, device);
      if (size.profile == kNoProfile) continue;
      const PartitionProfile& profile = devices[device].partitions[size.profile];
      std::vector<Spot> further;
      for (const Spot& way : ways) {
        for (uint8_t start = 0; start < kMaxPartitionSlots; ++start) {
          if (!partition_free(node.partition_slots[device], profile, start)) continue;
          further.push_back(way);
          further.back().partition_starts[device] = start;
          if (further.size() >= limit) break;
        }
      }
      ways = std::move(further);
    }
    for (const Spot& way : ways) {
      if (cluster.fits(way, shape) && spots.size() < limit) spots.push_back(way);
    }
  }
  return spots;
}

}  // namespace tweendeck::placement

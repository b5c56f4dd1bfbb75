#include "placement/policy/device_choice.h"

#include <bit>

namespace tweendeck::placement {
namespace {

struct Group {
  uint16_t devices = 0;
  int64_t sum = 0;
};

Group lowest(uint16_t candidates, uint32_t count, const DeviceKeys& keys) {
  Group group;
  for (uint32_t i = 0; i < count; ++i) {
    uint32_t best = kMaxDevicesPerNode;
    for (uint32_t rest = candidates; rest != 0; rest &= rest - 1) {
      const auto device = static_cast<uint32_t>(std::countr_zero(rest));
      if (best == kMaxDevicesPerNode || keys[device] < keys[best]) best = device;
    }
    candidates = static_cast<uint16_t>(candidates & ~(1u << best));
    group.devices = static_cast<uint16_t>(group.devices | 1u << best);
    group.sum += keys[best];
  }
  return group;
}

}  // namespace

std::optional<uint16_t> devices_by_key(const Cluster& cluster, NodeIndex node, ShapeId shape,
                                       const DeviceKeys& keys) {
  const Request& request = cluster.shape(shape).request;
  if (request.devices == 0) {
    if (!cluster.fits(node, shape)) return std::nullopt;
    return 0;
  }
  const uint16_t fitting = cluster.fitting_devices(node, shape);
  if (fitting == 0) return std::nullopt;
  if (request.near == Near::Anywhere) return lowest(fitting, request.devices, keys).devices;
  std::optional<Group> best;
  for (const uint16_t members : cluster.near_groups(cluster.nodes()[node].type, request.near)) {
    const auto candidates = static_cast<uint16_t>(members & fitting);
    if (std::popcount(candidates) < static_cast<int>(request.devices)) continue;
    const Group group = lowest(candidates, request.devices, keys);
    if (!best || group.sum < best->sum) best = group;
  }
  if (best) return best->devices;
  if (request.near_required) return std::nullopt;
  return lowest(fitting, request.devices, keys).devices;
}

DeviceKeys fullest_first(const Cluster& cluster, NodeIndex node) {
  const NodeState& state = cluster.nodes()[node];
  const NodeType& type = cluster.types()[state.type];
  DeviceKeys keys{};
  for (uint32_t device = 0; device < state.device_count; ++device)
    keys[device] = device_rest(state, type, device);
  return keys;
}

}  // namespace tweendeck::placement

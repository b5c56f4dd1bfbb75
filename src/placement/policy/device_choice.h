// Which of a node's devices a claim gets, once the node is chosen or for scoring it. Exact: where the claim fits
// on the node, devices are found, and those respect required nearness.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>

#include "placement/cluster/cluster.h"

namespace tweendeck::placement {

// Orders devices; lower keys are taken first, ties by lower bit. One key per device bit.
using DeviceKeys = std::array<int64_t, kMaxDevicesPerNode>;

// The devices with the lowest keys among those that fit. Where the request wants them near each other, the group
// whose chosen keys have the lowest sum; where it only prefers that and no group has enough, any.
// Nothing when the claim does not fit; 0 for claims without devices.
std::optional<uint16_t> devices_by_key(const Cluster& cluster, NodeIndex node, ShapeId shape,
                                       const DeviceKeys& keys);

// What is left of a device: permille of the scarcer of compute and memory.
inline uint32_t device_rest(const NodeState& node, const NodeType& type, uint32_t device) {
  const uint64_t memory = type.facts.devices[device].memory_bytes;
  const auto free = static_cast<uint64_t>(std::max<int64_t>(0, node.memory_free[device]));
  // In MiB, so that the product stays in 64 bits.
  const uint64_t memory_rest =
      memory >> 20 == 0 ? kWholeCompute : (free >> 20) * kWholeCompute / (memory >> 20);
  return static_cast<uint32_t>(std::min<uint64_t>(node.compute_free[device], memory_rest));
}

// Keys for taking the fullest devices first.
DeviceKeys fullest_first(const Cluster& cluster, NodeIndex node);

}  // namespace tweendeck::placement

// Why a node does not take a claim, and how far it is from taking it: the meaning of the reasons, node by node.
//
// A device is ruled out by the first of: DeviceNotSelected, VendorMismatch, ModelMismatch, AttributeMismatch,
// IsolationTooWeak, PartitionMismatch, MemoryExceedsDevice (all these whatever is free), NodeCordoned,
// DeviceUnhealthy, DeviceCordoned, DeviceHeld, InsufficientMemory, InsufficientCompute, InsufficientPartitions.
// A node that lacks devices has the reason of the farthest of those that it needs besides what fits, nearest first;
// where that is memory or compute: InsufficientMemory when too few of its devices have the memory. When the devices
// are there: DevicesTooFarApart, InsufficientCpu, InsufficientHostMemory.
//
// Pure; const on a Cluster. Allocates nothing.
#pragma once

#include <array>
#include <compare>
#include <cstdint>

#include "base/reason.h"
#include "placement/cluster/cluster.h"

namespace tweendeck::placement {

// What is missing on a device, in permille of it, as ranks compare it. Memory counts in units of a power of two so
// that a device has fewer than 2^15 of them, which lets one pass over a cluster compare eight devices at once (board.h).
struct MemoryUnit {
  uint32_t shift = 0;  // a unit is 2^shift bytes
  uint32_t scale = 0;  // missing units * scale >> 16 = permille of the device
};
inline constexpr uint32_t kMaxMemoryUnits = (1u << 15) - 3;  // an ask rounded up and one more stay in 15 bits
MemoryUnit memory_unit(uint64_t device_bytes);
inline uint32_t units_of_free(const MemoryUnit& unit, int64_t bytes) {
  return bytes <= 0 ? 0 : static_cast<uint32_t>(bytes >> unit.shift);
}
uint32_t units_of_ask(const MemoryUnit& unit,
                      uint64_t bytes);  // rounded up, at most one above kMaxMemoryUnits
// At least 1 of what lacks at all.
inline uint32_t lack_permille(const MemoryUnit& unit, uint32_t units) {
  return units == 0 ? 0 : (units * unit.scale >> 16) + 1;
}

// Of a node's CPU or memory, in permille of what it has; at most kWholeCompute.
uint32_t host_permille(uint64_t lack, uint64_t capacity);
// The largest lack for which that is at most `permille`.
uint64_t largest_lack(uint32_t permille, uint64_t capacity);

// How far away a reason is: 0 goes away when somebody ends, 7 needs another machine.
constexpr uint32_t distance(Reason reason) {
  switch (reason) {
    case Reason::None:
    case Reason::InsufficientMemory:
    case Reason::InsufficientCompute:
    case Reason::InsufficientPartitions:
    case Reason::InsufficientCpu:
    case Reason::InsufficientHostMemory:
      return 0;
    case Reason::DeviceAlreadyUsed:
    case Reason::DeviceHeld:
    case Reason::DevicesTooFarApart:
    case Reason::NodeCordoned:
    case Reason::DeviceCordoned:
      return 1;
    case Reason::MemoryExceedsDevice:
    case Reason::ComputeExceedsDevice:
    case Reason::PartitionMismatch:
    case Reason::TooFewDevices:
      return 2;
    case Reason::IsolationTooWeak:
      return 3;
    case Reason::DeviceUnhealthy:
      return 4;
    case Reason::ModelMismatch:
    case Reason::AttributeMismatch:
      return 5;
    case Reason::VendorMismatch:
      return 6;
    default:
      return 7;
  }
}

// Nearer is smaller; the lower node index wins a tie.
struct Nearness {
  uint32_t distance = UINT32_MAX;
  uint32_t missing = 0;    // devices
  uint32_t shortfall = 0;  // permille of devices, summed over those missing; or of the node's CPU or memory
  NodeIndex node = kNoNode;
  auto operator<=>(const Nearness&) const = default;
};

struct DeviceLack {
  uint32_t device = 0;
  Reason reason = Reason::None;
  uint64_t memory_bytes = 0;
  uint32_t compute_permille = 0;
};

struct Judgement {
  Reason reason = Reason::None;  // None: the claim fits
  Nearness nearness;
  std::array<DeviceLack, kMaxDevicesPerNode> lacks{};  // the first `missing` count: nearest first
  uint64_t cpu_milli = 0;                              // lacking on the node
  uint64_t host_memory_bytes = 0;
};

// The first thing that rules the device out, None when one slice fits there.
Reason device_reason(const Cluster& cluster, NodeIndex node, uint32_t device, ShapeId shape);
// Of devices of a type, whatever is free; None when an empty one would take a slice.
Reason type_reason(const NodeType& type, uint32_t device, const Request& request);

// Whether the claim would fit if the node and its devices were healthy and open to new claims. Nearness is not looked at.
bool fits_once_open(const Cluster& cluster, NodeIndex node, ShapeId shape);

Judgement judge(const Cluster& cluster, NodeIndex node, ShapeId shape);

}  // namespace tweendeck::placement

#include "placement/why/judge.h"

#include <algorithm>
#include <tuple>

#include "placement/cluster/partitions.h"

namespace tweendeck::placement {
namespace {

// Of memory that a device would need to have besides its own; sums of 16 stay in 32 bits.
constexpr uint64_t kMaxTimes = 100'000'000;

bool names(const Cluster& cluster, NodeIndex node, uint32_t device, const Request& request) {
  return request.device_ids.empty() ||
         std::ranges::binary_search(request.device_ids, cluster.facts(node).devices[device].id);
}

// What is free on a device that could take the claim at all.
Reason room_reason(const Cluster& cluster, NodeIndex index, uint32_t device, ShapeId shape) {
  const NodeState& node = cluster.nodes()[index];
  const Request& request = cluster.shape(shape).request;
  const uint32_t bit = 1u << device;
  const bool alone = request.exclusive || request.prefer == Prefer::Mutex;
  const bool full = node.claims[device] >= cluster.types()[node.type].facts.devices[device].max_claims;
  if (full || (node.exclusive & bit) != 0 || (alone && (node.whole & bit) == 0)) return Reason::DeviceHeld;
  const SliceSize size = cluster.slice_size(node.type, shape, device);
  if (node.memory_free[device] < static_cast<int64_t>(size.memory_bytes)) return Reason::InsufficientMemory;
  if (node.compute_free[device] < size.compute_permille) return Reason::InsufficientCompute;
  if (size.profile == kNoProfile) return Reason::None;
  const PartitionProfile& profile = cluster.types()[node.type].facts.devices[device].partitions[size.profile];
  return partitions_left(node.partition_slots[device], profile) > 0 ? Reason::None
                                                                    : Reason::InsufficientPartitions;
}

struct Lack {
  DeviceLack what;
  uint32_t distance = 0;
  uint32_t permille = 0;
};

Lack lack_of(const Cluster& cluster, NodeIndex index, uint32_t device, ShapeId shape, Reason reason) {
  const NodeState& node = cluster.nodes()[index];
  const DeviceFacts& facts = cluster.types()[node.type].facts.devices[device];
  const Request& request = cluster.shape(shape).request;
  Lack lack{{device, reason, 0, 0}, distance(reason), 0};
  if (reason == Reason::IsolationTooWeak) {
    lack.permille = static_cast<uint32_t>(request.min_isolation) - static_cast<uint32_t>(facts.isolation);
  }
  const bool exceeds = reason == Reason::MemoryExceedsDevice;
  if (!exceeds && reason != Reason::InsufficientMemory && reason != Reason::InsufficientCompute) return lack;
  const SliceSize size =
      exceeds ? placement::slice_size(facts, request) : cluster.slice_size(node.type, shape, device);
  const auto free =
      exceeds ? static_cast<int64_t>(facts.memory_bytes) : std::max<int64_t>(0, node.memory_free[device]);
  const uint32_t compute = exceeds ? kWholeCompute : node.compute_free[device];
  lack.what.memory_bytes = size.memory_bytes - std::min(size.memory_bytes, static_cast<uint64_t>(free));
  lack.what.compute_permille = size.compute_permille - std::min<uint32_t>(size.compute_permille, compute);
  if (exceeds) {  // as many times the device as it would take
    const uint64_t times = lack.what.memory_bytes / (facts.memory_bytes / kWholeCompute + 1);
    lack.permille = static_cast<uint32_t>(std::min<uint64_t>(times, kMaxTimes));
    return lack;
  }
  const MemoryUnit unit = memory_unit(facts.memory_bytes);
  const uint32_t ask = units_of_ask(unit, size.memory_bytes);
  const uint32_t have = units_of_free(unit, free);
  lack.permille = std::max(lack.what.compute_permille, lack_permille(unit, ask - std::min(ask, have)));
  return lack;
}

}  // namespace

MemoryUnit memory_unit(uint64_t device_bytes) {
  MemoryUnit unit;
  while (device_bytes >> unit.shift > kMaxMemoryUnits) ++unit.shift;
  const uint64_t units = std::max<uint64_t>(1, device_bytes >> unit.shift);
  unit.scale =
      static_cast<uint32_t>(std::min<uint64_t>(kMaxMemoryUnits, (uint64_t{kWholeCompute} << 16) / units));
  return unit;
}

uint32_t units_of_ask(const MemoryUnit& unit, uint64_t bytes) {
  const uint64_t units = (bytes >> unit.shift) + ((bytes & ((1ull << unit.shift) - 1)) != 0);
  return static_cast<uint32_t>(std::min<uint64_t>(kMaxMemoryUnits + 1, units));
}

namespace {

// Lacks and capacities of at least 2^40 are compared in units of 2^20, so that products stay in 64 bits.
uint32_t host_shift(uint64_t capacity) {
  return capacity >> 40 > 0 ? 20 : 0;
}

}  // namespace

uint32_t host_permille(uint64_t lack, uint64_t capacity) {
  if (lack == 0) return 0;
  if (capacity == 0) return kWholeCompute;
  const uint32_t shift = host_shift(capacity);
  return static_cast<uint32_t>(
      std::min<uint64_t>(kWholeCompute, (lack >> shift) * kWholeCompute / (capacity >> shift)));
}

uint64_t largest_lack(uint32_t permille, uint64_t capacity) {
  if (permille >= kWholeCompute) return UINT64_MAX;
  if (capacity == 0) return 0;
  const uint32_t shift = host_shift(capacity);
  const uint64_t most = ((uint64_t{permille} + 1) * (capacity >> shift) - 1) / kWholeCompute;
  return ((most + 1) << shift) - 1;
}

Reason type_reason(const NodeType& type, uint32_t device, const Request& request) {
  const DeviceFacts& facts = type.facts.devices[device];
  if (!request.vendor.empty() && request.vendor != facts.vendor) return Reason::VendorMismatch;
  if (!request.models.empty() && std::ranges::find(request.models, facts.model) == request.models.end()) {
    return Reason::ModelMismatch;
  }
  const bool strong = facts.isolation >= request.min_isolation;
  if (!selected(type.facts, facts, request) && strong) return Reason::AttributeMismatch;
  if (!strong) return Reason::IsolationTooWeak;
  const SliceSize size = slice_size(facts, request);
  if (size.possible) return Reason::None;
  return size.memory_bytes > facts.memory_bytes ? Reason::MemoryExceedsDevice : Reason::PartitionMismatch;
}

Reason device_reason(const Cluster& cluster, NodeIndex index, uint32_t device, ShapeId shape) {
  const NodeState& node = cluster.nodes()[index];
  const Request& request = cluster.shape(shape).request;
  const DeviceFacts& facts = cluster.facts(index).devices[device];
  const uint32_t bit = 1u << device;
  if (!names(cluster, index, device, request)) return Reason::DeviceNotSelected;
  if ((cluster.allowed_devices(node.type, shape) & bit) == 0) {
    return type_reason(cluster.types()[node.type], device, request);
  }
  if (node.cordoned) return Reason::NodeCordoned;
  if ((node.usable & bit) == 0) {
    if (facts.healthy && facts.cordoned) return Reason::DeviceCordoned;
    // It shrank below what claims hold.
    return facts.healthy && node.memory_free[device] < 0 ? Reason::InsufficientMemory
                                                         : Reason::DeviceUnhealthy;
  }
  return room_reason(cluster, index, device, shape);
}

bool fits_once_open(const Cluster& cluster, NodeIndex index, ShapeId shape) {
  const NodeState& node = cluster.nodes()[index];
  const Request& request = cluster.shape(shape).request;
  if (!node.present || node.cpu_free_milli < static_cast<int32_t>(request.cpu_milli) ||
      node.memory_free_bytes < static_cast<int64_t>(request.node_memory_bytes)) {
    return false;
  }
  uint32_t fitting = 0;
  for (uint32_t device = 0; device < node.device_count; ++device) {
    fitting += names(cluster, index, device, request) &&
               (cluster.allowed_devices(node.type, shape) >> device & 1) != 0 &&
               room_reason(cluster, index, device, shape) == Reason::None;
  }
  return fitting >= request.devices;
}

Judgement judge(const Cluster& cluster, NodeIndex index, ShapeId shape) {
  const NodeState& node = cluster.nodes()[index];
  const Request& request = cluster.shape(shape).request;
  Judgement judgement;
  judgement.nearness.node = index;
  const auto settle = [&](Reason reason, uint32_t missing, uint32_t shortfall) {
    judgement.reason = reason;
    judgement.nearness = {distance(reason), missing, shortfall, index};
    return judgement;
  };
  std::array<Lack, kMaxDevicesPerNode> lacks;
  uint32_t failing = 0;
  uint32_t fitting = 0;
  uint32_t with_memory = 0;  // of those that only lack memory or compute
  for (uint32_t device = 0; device < node.device_count; ++device) {
    const Reason reason = device_reason(cluster, index, device, shape);
    fitting += reason == Reason::None;
    with_memory += reason == Reason::None || reason == Reason::InsufficientCompute;
    if (reason != Reason::None) lacks[failing++] = lack_of(cluster, index, device, shape, reason);
  }
  // Of what a node of this type has, so equal for all nodes of a type.
  if (node.device_count < request.devices) {
    const Reason reason = node.device_count == 0 ? Reason::NoDevices : Reason::TooFewDevices;
    return settle(reason, request.devices - node.device_count, 0);
  }
  if (fitting < request.devices) {
    const uint32_t missing = request.devices - fitting;
    std::sort(lacks.begin(), lacks.begin() + failing, [](const Lack& a, const Lack& b) {
      return std::tuple(a.distance, a.permille, a.what.device) <
             std::tuple(b.distance, b.permille, b.what.device);
    });
    uint32_t shortfall = 0;
    for (uint32_t i = 0; i < missing; ++i) {
      judgement.lacks[i] = lacks[i].what;
      shortfall += lacks[i].permille;
    }
    const Lack& farthest = lacks[missing - 1];
    Reason reason = farthest.what.reason;
    if (reason == Reason::InsufficientMemory || reason == Reason::InsufficientCompute) {
      reason = with_memory < request.devices ? Reason::InsufficientMemory : Reason::InsufficientCompute;
    }
    return settle(reason, missing, shortfall);
  }
  if (node.cordoned) return settle(Reason::NodeCordoned, 0, 0);
  if (cluster.fits(index, shape)) return judgement;
  if (node.cpu_free_milli < static_cast<int32_t>(request.cpu_milli)) {
    judgement.cpu_milli = static_cast<uint64_t>(int64_t{request.cpu_milli} - node.cpu_free_milli);
  }
  const auto host_ask = static_cast<int64_t>(request.node_memory_bytes);
  if (node.memory_free_bytes < host_ask)
    judgement.host_memory_bytes = static_cast<uint64_t>(host_ask - node.memory_free_bytes);
  if (judgement.cpu_milli == 0 && judgement.host_memory_bytes == 0)
    return settle(Reason::DevicesTooFarApart, 0, 0);
  const NodeFacts& facts = cluster.types()[node.type].facts;
  const uint32_t shortfall = std::max(host_permille(judgement.cpu_milli, facts.cpu_milli),
                                      host_permille(judgement.host_memory_bytes, facts.memory_bytes));
  return settle(judgement.cpu_milli > 0 ? Reason::InsufficientCpu : Reason::InsufficientHostMemory, 0,
                shortfall);
}

}  // namespace tweendeck::placement

// For tests: a slow, obvious reference of what fits. It keeps the list of facts and of held claims, works out what is free
// from those each time, and tries every set of devices and every start of every partition. And random small cases.
#pragma once

#include <algorithm>
#include <array>
#include <bit>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "placement/cluster/cluster.h"

namespace tweendeck::placement::reference {

struct Held {
  Spot spot;
  ShapeId shape = 0;
  Request request;
};

struct Device {
  DeviceFacts facts;
  int64_t memory = 0;
  int compute = 1000;
  int claims = 0;
  bool exclusive = false;
  std::array<bool, kMaxPartitionSlots> slots{};  // in use
};

struct Node {
  NodeFacts facts;
  int64_t cpu = 0;
  int64_t memory = 0;
  std::vector<Device> devices;
};

struct Want {
  int64_t memory = 0;
  int compute = 0;
  const PartitionProfile* profile = nullptr;
  bool possible = false;
};

inline Want wanted(const DeviceFacts& device, const Request& request) {
  const uint64_t memory =
      request.memory_bytes > 0 ? request.memory_bytes : device.memory_bytes / 100 * request.memory_percent;
  if (device.partitions.empty()) {
    return {static_cast<int64_t>(memory), static_cast<int>(request.compute_permille), nullptr,
            request.partition.empty() && memory <= device.memory_bytes};
  }
  const PartitionProfile* best = nullptr;
  for (const PartitionProfile& profile : device.partitions) {
    const bool holds = profile.memory_bytes >= memory &&
                       profile.compute_permille >= request.compute_permille &&
                       (request.partition.empty() || request.partition == profile.name);
    if (holds && (best == nullptr || profile.slots < best->slots)) best = &profile;
  }
  if (best == nullptr) return {};
  return {static_cast<int64_t>(best->memory_bytes), static_cast<int>(best->compute_permille), best, true};
}

inline bool start_free(const Device& device, const PartitionProfile& profile, int start) {
  if ((profile.starts & 1 << start) == 0) return false;
  for (int slot = start; slot < start + profile.slots; ++slot) {
    if (device.slots[static_cast<size_t>(slot)]) return false;
  }
  return true;
}

inline void hold(Node& node, const Spot& spot, const Request& request) {
  node.cpu -= request.cpu_milli;
  node.memory -= static_cast<int64_t>(request.node_memory_bytes);
  for (size_t i = 0; i < node.devices.size(); ++i) {
    if ((spot.devices & 1 << i) == 0) continue;
    Device& device = node.devices[i];
    const Want want = wanted(device.facts, request);
    device.memory -= want.memory;
    device.compute -= want.compute;
    ++device.claims;
    device.exclusive |= request.exclusive;
    if (want.profile == nullptr) continue;
    for (size_t slot = 0; slot < want.profile->slots; ++slot)
      device.slots[spot.partition_starts[i] + slot] = true;
  }
}

inline Node rebuild(const NodeFacts& facts, NodeIndex index, const std::vector<Held>& held) {
  Node node{facts, facts.cpu_milli, static_cast<int64_t>(facts.memory_bytes), {}};
  for (const DeviceFacts& device : facts.devices) {
    node.devices.push_back({device, static_cast<int64_t>(device.memory_bytes), 1000, 0, false, {}});
  }
  for (const Held& claim : held) {
    if (claim.spot.node == index) hold(node, claim.spot, claim.request);
  }
  return node;
}

inline bool condition_holds(const Condition& condition, const NodeFacts& node, const DeviceFacts& device) {
  std::map<std::string, std::string> attributes(node.attributes.begin(), node.attributes.end());
  for (const auto& [name, value] : device.attributes) attributes[name] = value;
  const bool there = attributes.contains(condition.name);
  const std::string value = there ? attributes[condition.name] : "";
  const bool listed = std::ranges::find(condition.values, value) != condition.values.end();
  using Op = Condition::Op;
  switch (condition.op) {
    case Op::In:
      return there && listed;
    case Op::NotIn:
      return !there || !listed;
    case Op::Exists:
      return there;
    case Op::Absent:
      return !there;
    case Op::AtLeast:
      return there && std::stoi(value) >= std::stoi(condition.values[0]);
    case Op::AtMost:
      return there && std::stoi(value) <= std::stoi(condition.values[0]);
  }
  return false;
}

inline bool slice_fits(const Node& node, const Device& device, const Request& request) {
  const DeviceFacts& facts = device.facts;
  const Want want = wanted(facts, request);
  const auto in = [](const std::vector<std::string>& list, const std::string& name) {
    return list.empty() || std::ranges::find(list, name) != list.end();
  };
  if (!want.possible || !facts.healthy || facts.cordoned || node.facts.cordoned || device.memory < 0)
    return false;
  if (device.exclusive || device.claims >= facts.max_claims) return false;
  if ((request.exclusive || request.prefer == Prefer::Mutex) && device.claims > 0) return false;
  if (!in(request.models, facts.model) || !in(request.device_ids, facts.id)) return false;
  if (!request.vendor.empty() && request.vendor != facts.vendor) return false;
  if (facts.isolation < request.min_isolation) return false;
  for (const Condition& condition : request.conditions) {
    if (!condition_holds(condition, node.facts, facts)) return false;
  }
  return device.memory >= want.memory && device.compute >= want.compute;
}

inline bool near(const Node& node, uint32_t devices, Near how) {
  if (how == Near::Anywhere || std::popcount(devices) <= 1) return true;
  const auto place = [how](const DeviceFacts& device) {
    if (how == Near::SameNuma) return device.numa_node;
    return how == Near::SamePcieRoot ? device.pcie_root : device.link_island;
  };
  std::optional<int32_t> common;
  for (size_t i = 0; i < node.devices.size(); ++i) {
    if ((devices & 1u << i) == 0) continue;
    const int32_t here = place(node.devices[i].facts);
    if (here < 0 || (common && *common != here)) return false;
    common = here;
  }
  return true;
}

// Calls `use` with every spot that can be taken; stops when it returns true.
inline bool any_spot(const Node& node, const Request& request, const auto& use) {
  if (node.cpu < request.cpu_milli || node.memory < static_cast<int64_t>(request.node_memory_bytes))
    return false;
  if (request.devices == 0) return !node.facts.cordoned && use(Spot{0, 0, {}});
  for (uint32_t set = 1; set < 1u << node.devices.size(); ++set) {
    if (std::popcount(set) != static_cast<int>(request.devices)) continue;
    if (request.near_required && !near(node, set, request.near)) continue;
    bool fits = true;
    for (size_t i = 0; i < node.devices.size(); ++i) {
      if ((set & 1u << i) != 0) fits = fits && slice_fits(node, node.devices[i], request);
    }
    if (!fits) continue;
    Spot spot{0, static_cast<uint16_t>(set), {}};
    const auto with_starts = [&](const auto& self, size_t i) -> bool {
      if (i == node.devices.size()) return use(spot);
      if ((set & 1u << i) == 0) return self(self, i + 1);
      const Want want = wanted(node.devices[i].facts, request);
      if (want.profile == nullptr) return self(self, i + 1);
      for (int start = 0; start < static_cast<int>(kMaxPartitionSlots); ++start) {
        if (!start_free(node.devices[i], *want.profile, start)) continue;
        spot.partition_starts[i] = static_cast<uint8_t>(start);
        if (self(self, i + 1)) return true;
        spot.partition_starts[i] = 0;
      }
      return false;
    };
    if (with_starts(with_starts, 0)) return true;
  }
  return false;
}

inline bool fits_times(const Node& node, const Request& request, uint32_t times) {
  if (times == 0) return true;
  return any_spot(node, request, [&](const Spot& spot) {
    Node after = node;
    hold(after, spot, request);
    return fits_times(after, request, times - 1);
  });
}

// Random cases.

inline const std::vector<PartitionProfile> kProfiles = {
    {"one", 2, 100, 1, 0b00001111}, {"two", 4, 300, 2, 0b00000101}, {"odd", 5, 300, 3, 0b00000010}};

inline NodeFacts random_node(Random& random, int name) {
  NodeFacts node;
  node.name = "n" + std::to_string(name);
  node.cpu_milli = static_cast<uint32_t>(random.below(8));
  node.memory_bytes = random.below(8);
  node.cordoned = random.below(16) == 0;
  if (random.below(3) == 0) node.attributes = {{"tier", std::to_string(random.below(3))}};
  const uint64_t devices = random.below(5);
  for (uint64_t i = 0; i < devices; ++i) {
    DeviceFacts device;
    device.id = node.name + "d" + std::to_string(i);
    device.vendor = random.below(4) == 0 ? "AMD" : "NVIDIA";
    device.model = random.below(2) == 0 ? "A" : "B";
    device.memory_bytes = 100 * (1 + random.below(4));
    device.isolation = static_cast<Isolation>(random.below(5));
    device.healthy = random.below(10) != 0;
    device.cordoned = random.below(16) == 0;
    device.numa_node = static_cast<int32_t>(random.below(3)) - 1;
    device.pcie_root = static_cast<int32_t>(random.below(3)) - 1;
    device.link_island = static_cast<int32_t>(random.below(3)) - 1;
    device.max_claims = static_cast<uint16_t>(1 + random.below(6));
    if (random.below(3) == 0) {
      device.memory_bytes = 8;
      device.partitions = kProfiles;
      device.partitions.resize(1 + random.below(3));
    }
    if (random.below(4) == 0) device.attributes = {{"tier", std::to_string(random.below(3))}};
    node.devices.push_back(device);
  }
  return node;
}

inline Request random_request(Random& random) {
  Request request;
  request.cpu_milli = static_cast<uint32_t>(random.below(4));
  request.node_memory_bytes = random.below(3);
  request.devices = static_cast<uint32_t>(random.below(4));
  if (request.devices == 0) return request;
  switch (random.below(5)) {
    case 0:
      request.memory_bytes = 1 + random.below(6);
      break;
    case 1:
      request.memory_bytes = 100 * random.below(4);
      request.compute_permille = static_cast<uint32_t>(1 + random.below(1000));
      break;
    case 2:
      request.memory_percent = static_cast<uint32_t>(1 + random.below(100));
      break;
    case 3:
      request.compute_permille = random.below(2) == 0 ? 1000 : 300;
      break;
    default:
      request.partition = kProfiles[random.below(3)].name;
  }
  request.exclusive = random.below(8) == 0;
  if (random.below(8) == 0) request.models = {"A"};
  if (random.below(12) == 0) request.vendor = "NVIDIA";
  if (random.below(12) == 0) request.device_ids = {"n0d0", "n1d1", "n0d2"};
  if (random.below(10) == 0) request.min_isolation = static_cast<Isolation>(random.below(5));
  if (random.below(3) == 0) request.near = static_cast<Near>(random.below(4));
  request.near_required = random.below(4) != 0;
  request.prefer = static_cast<Prefer>(random.below(4));
  if (random.below(6) == 0) {
    const auto op = static_cast<Condition::Op>(random.below(6));
    Condition condition{"tier", op, {"1"}};
    if (op == Condition::Op::Exists || op == Condition::Op::Absent) condition.values.clear();
    request.conditions = {condition};
  }
  return request;
}

}  // namespace tweendeck::placement::reference

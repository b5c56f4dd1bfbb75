#include "placement/cluster/selectors.h"

#include <algorithm>
#include <charconv>
#include <optional>

namespace tweendeck::placement {
namespace {

std::optional<int64_t> to_integer(std::string_view text) {
  int64_t value = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error != std::errc() || end != text.data() + text.size()) return std::nullopt;
  return value;
}

const std::string* find_attribute(const NodeFacts& node, const DeviceFacts& device, std::string_view name) {
  for (const auto* attributes : {&device.attributes, &node.attributes}) {
    for (const Attribute& attribute : *attributes) {
      if (attribute.first == name) return &attribute.second;
    }
  }
  return nullptr;
}

bool holds(const Condition& condition, const std::string* value) {
  using Op = Condition::Op;
  const auto listed = [&] { return std::ranges::find(condition.values, *value) != condition.values.end(); };
  const auto compare = [&](auto order) {
    if (value == nullptr) return false;
    const auto have = to_integer(*value);
    return have && order(*have, *to_integer(condition.values.front()));
  };
  switch (condition.op) {
    case Op::In:
      return value != nullptr && listed();
    case Op::NotIn:
      return value == nullptr || !listed();
    case Op::Exists:
      return value != nullptr;
    case Op::Absent:
      return value == nullptr;
    case Op::AtLeast:
      return compare(std::greater_equal<>());
    case Op::AtMost:
      return compare(std::less_equal<>());
  }
  return false;
}

}  // namespace

SliceSize slice_size(const DeviceFacts& device, const Request& request) {
  // Hundredths first: sums of percents then cost the same as the percent of the sum.
  uint64_t memory = request.memory_bytes;
  if (memory == 0) memory = device.memory_bytes / 100 * request.memory_percent;
  const auto compute = static_cast<uint16_t>(request.compute_permille);
  if (device.partitions.empty()) {
    return {memory, compute, kNoProfile, request.partition.empty() && memory <= device.memory_bytes};
  }
  SliceSize best;
  for (size_t i = 0; i < device.partitions.size(); ++i) {
    const PartitionProfile& profile = device.partitions[i];
    if (!request.partition.empty() && profile.name != request.partition) continue;
    if (profile.memory_bytes < memory || profile.compute_permille < compute) continue;
    if (best.possible && device.partitions[best.profile].slots <= profile.slots) continue;
    best = {profile.memory_bytes, static_cast<uint16_t>(profile.compute_permille), static_cast<uint8_t>(i),
            true};
  }
  return best;
}

bool selected(const NodeFacts& node, const DeviceFacts& device, const Request& request) {
  if (!request.models.empty() && std::ranges::find(request.models, device.model) == request.models.end()) {
    return false;
  }
  if (!request.vendor.empty() && request.vendor != device.vendor) return false;
  if (device.isolation < request.min_isolation) return false;
  return std::ranges::all_of(request.conditions, [&](const Condition& condition) {
    return holds(condition, find_attribute(node, device, condition.name));
  });
}

Status check_request(const Request& request) {
  const auto bad = [](std::string what, std::string hint) {
    return fail(Reason::InvalidArgument, std::move(what), std::move(hint));
  };
  if (request.cpu_milli > kMaxCpuMilli) {
    return bad("cpu_milli is " + std::to_string(request.cpu_milli),
               "at most " + std::to_string(kMaxCpuMilli));
  }
  if (request.node_memory_bytes > kMaxMemoryBytes || request.memory_bytes > kMaxMemoryBytes) {
    return bad("a memory size is above 2^60 bytes", "sizes are bytes");
  }
  if (request.devices > kMaxDevicesPerNode) {
    return bad("devices is " + std::to_string(request.devices),
               "a claim lies on one node of at most " + std::to_string(kMaxDevicesPerNode) + " devices");
  }
  if (request.memory_percent > 100) {
    return bad("memory_percent is " + std::to_string(request.memory_percent), "at most 100");
  }
  if (request.compute_permille > kWholeCompute) {
    return bad("compute_permille is " + std::to_string(request.compute_permille),
               "1000 is all of a device; ask for more devices");
  }
  const bool asks_size = request.memory_bytes > 0 || request.memory_percent > 0 ||
                         request.compute_permille > 0 || request.exclusive || !request.partition.empty();
  if (request.devices > 0 && !asks_size) {
    return bad("the request names devices but no size",
               "give memory, compute, a partition, or ask for exclusive devices");
  }
  if (request.devices == 0 && asks_size) {
    return bad("the request names sizes but devices is 0", "set devices to at least 1");
  }
  for (const Condition& condition : request.conditions) {
    using Op = Condition::Op;
    const bool compares = condition.op == Op::AtLeast || condition.op == Op::AtMost;
    const bool lists = condition.op == Op::In || condition.op == Op::NotIn;
    if (condition.name.empty()) return bad("a condition has no attribute name", "name the attribute");
    if (lists && condition.values.empty()) {
      return bad("the condition on " + condition.name + " lists no value", "give at least one value");
    }
    if (!lists && !compares && !condition.values.empty()) {
      return bad("the condition on " + condition.name + " takes no value", "leave the values out");
    }
    if (compares && (condition.values.size() != 1 || !to_integer(condition.values.front()))) {
      return bad("the condition on " + condition.name + " compares with something that is no integer",
                 "give one integer");
    }
  }
  return {};
}

namespace {

Status check_device(const std::string& where, const DeviceFacts& device) {
  const auto bad = [&](std::string what) {
    return fail(Reason::InvalidArgument, where + ": " + std::move(what), "correct the device's facts");
  };
  if (device.memory_bytes > kMaxMemoryBytes) return bad("memory_bytes is above 2^60");
  if (device.max_claims == 0) return bad("max_claims is 0");
  if (device.partitions.size() > kMaxPartitionProfiles) {
    return bad(std::to_string(device.partitions.size()) + " partition profiles, at most " +
               std::to_string(kMaxPartitionProfiles));
  }
  for (size_t i = 0; i < device.partitions.size(); ++i) {
    const PartitionProfile& profile = device.partitions[i];
    const std::string name = "partition profile '" + profile.name + "'";
    for (size_t j = 0; j < i; ++j) {
      if (device.partitions[j].name == profile.name) return bad(name + " is listed twice");
    }
    if (profile.name.empty()) return bad("a partition profile has no name");
    if (profile.slots == 0 || profile.slots > kMaxPartitionSlots)
      return bad(name + " has no valid slot count");
    if (profile.starts == 0) return bad(name + " has no start");
    for (uint32_t start = 0; start < kMaxPartitionSlots; ++start) {
      if ((profile.starts >> start & 1) != 0 && start + profile.slots > kMaxPartitionSlots) {
        return bad(name + " would reach beyond slot " + std::to_string(kMaxPartitionSlots - 1));
      }
    }
    if (profile.memory_bytes > device.memory_bytes) return bad(name + " has more memory than the device");
    if (profile.compute_permille > kWholeCompute) return bad(name + " has more compute than the device");
  }
  return {};
}

}  // namespace

Status check_facts(const NodeFacts& facts) {
  if (facts.name.empty()) return fail(Reason::InvalidArgument, "a node has no name", "name the node");
  const std::string where = "node " + facts.name;
  if (facts.cpu_milli > kMaxCpuMilli || facts.memory_bytes > kMaxMemoryBytes) {
    return fail(Reason::InvalidArgument, where + ": cpu_milli or memory_bytes is out of range",
                "CPU counts in thousandths, memory in bytes");
  }
  if (facts.devices.size() > kMaxDevicesPerNode) {
    return fail(Reason::LimitExceeded,
                where + " has " + std::to_string(facts.devices.size()) + " devices, at most " +
                    std::to_string(kMaxDevicesPerNode) + " are supported",
                "leave some out");
  }
  for (size_t i = 0; i < facts.devices.size(); ++i) {
    const DeviceFacts& device = facts.devices[i];
    if (device.id.empty()) {
      return fail(Reason::InvalidArgument, where + ": device " + std::to_string(i) + " has no id",
                  "give its UUID");
    }
    for (size_t j = 0; j < i; ++j) {
      if (facts.devices[j].id == device.id) {
        return fail(Reason::InvalidArgument, where + " lists device " + device.id + " twice",
                    "ids are unique");
      }
    }
    if (Status ok = check_device(where + ", device " + device.id, device); !ok) return ok;
  }
  return {};
}

}  // namespace tweendeck::placement

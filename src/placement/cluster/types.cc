// Node types, shapes and what a shape needs on a type: worked out once when either is new.
#include <algorithm>
#include <map>

#include "placement/cluster/cluster.h"

namespace tweendeck::placement {
namespace {

// Bytes that are equal for equal facts: keys of intern tables.
class Key {
 public:
  void add(uint64_t value) {
    for (int shift = 0; shift < 64; shift += 8) bytes_.push_back(static_cast<char>(value >> shift));
  }
  void add(const std::string& text) {
    add(text.size());
    bytes_ += text;
  }
  void add(const std::vector<std::string>& texts) {
    add(texts.size());
    for (const std::string& text : texts) add(text);
  }
  void add(const std::vector<Attribute>& attributes) {
    add(attributes.size());
    for (const auto& [name, value] : attributes) {
      add(name);
      add(value);
    }
  }
  std::string take() { return std::move(bytes_); }

 private:
  std::string bytes_;
};

NodeFacts type_facts(const NodeFacts& facts) {
  NodeFacts type = facts;
  type.name.clear();
  type.rack.clear();
  type.block.clear();
  type.cordoned = false;
  for (DeviceFacts& device : type.devices) {
    device.id.clear();
    device.healthy = true;
    device.cordoned = false;
  }
  return type;
}

std::string type_key(const NodeFacts& type) {
  Key key;
  key.add(type.cpu_milli);
  key.add(type.memory_bytes);
  key.add(type.attributes);
  for (const DeviceFacts& device : type.devices) {
    key.add(device.vendor);
    key.add(device.model);
    key.add(device.memory_bytes);
    key.add(static_cast<uint64_t>(device.isolation));
    for (const int32_t place : {device.numa_node, device.pcie_root, device.link_island}) {
      key.add(static_cast<uint64_t>(place));
    }
    key.add(device.max_claims);
    key.add(device.attributes);
    key.add(device.partitions.size());
    for (const PartitionProfile& profile : device.partitions) {
      key.add(profile.name);
      key.add(profile.memory_bytes);
      key.add(profile.compute_permille);
      key.add(uint64_t{profile.slots} << 8 | profile.starts);
    }
  }
  return key.take();
}

std::string shape_key(const Request& request) {
  Key key;
  for (const uint64_t number :
       {uint64_t{request.cpu_milli}, request.node_memory_bytes, uint64_t{request.devices},
        request.memory_bytes, uint64_t{request.memory_percent}, uint64_t{request.compute_permille},
        uint64_t{request.exclusive}, static_cast<uint64_t>(request.min_isolation),
        static_cast<uint64_t>(request.near), uint64_t{request.near_required},
        static_cast<uint64_t>(request.prefer)}) {
    key.add(number);
  }
  key.add(request.partition);
  key.add(request.models);
  key.add(request.device_ids);
  key.add(request.vendor);
  for (const Condition& condition : request.conditions) {
    key.add(condition.name);
    key.add(static_cast<uint64_t>(condition.op));
    key.add(condition.values);
  }
  return key.take();
}

void sort_unique(std::vector<std::string>& names) {
  std::ranges::sort(names);
  names.erase(std::ranges::unique(names).begin(), names.end());
}

Request in_one_form(Request request) {
  sort_unique(request.models);
  sort_unique(request.device_ids);
  if (request.memory_bytes > 0) request.memory_percent = 0;
  if (request.devices <= 1) request.near = Near::Anywhere;
  if (request.near == Near::Anywhere) request.near_required = true;
  return request;
}

std::vector<uint16_t> groups_by(const NodeFacts& facts, int32_t DeviceFacts::* place) {
  std::map<int32_t, uint16_t> groups;
  for (size_t i = 0; i < facts.devices.size(); ++i) {
    if (facts.devices[i].*place >= 0) groups[facts.devices[i].*place] |= static_cast<uint16_t>(1u << i);
  }
  std::vector<uint16_t> masks;
  for (const auto& [id, mask] : groups) masks.push_back(mask);
  return masks;
}

}  // namespace

Cluster::Need Cluster::need_of(const NodeType& type, const Request& request) const {
  Need need;
  std::optional<SliceSize> first;
  for (size_t i = 0; i < type.facts.devices.size(); ++i) {
    const DeviceFacts& device = type.facts.devices[i];
    const SliceSize size = placement::slice_size(device, request);
    if (request.devices == 0 || !size.possible || !selected(type.facts, device, request)) continue;
    need.allowed |= static_cast<uint16_t>(1u << i);
    if (!first) first = size;
    need.uniform = need.uniform && size == *first && size.profile == kNoProfile;
  }
  if (need.uniform && first) {
    need.compute_permille = first->compute_permille;
    need.memory_bytes = static_cast<int64_t>(first->memory_bytes);
  }
  return need;
}

void Cluster::set_need(ShapeId shape, size_t type) {
  const Request& request = shapes_[shape].request;
  needs_[shape][type] = need_of(types_[type], request);
  std::vector<SliceSize>& sizes = sizes_[shape][type];
  sizes.clear();
  if (needs_[shape][type].uniform) return;
  for (const DeviceFacts& device : types_[type].facts.devices)
    sizes.push_back(placement::slice_size(device, request));
}

Result<uint16_t> Cluster::type_of(const NodeFacts& facts) {
  NodeType type{type_facts(facts), 0, {}};
  std::string key = type_key(type.facts);
  if (const auto it = type_keys_.find(key); it != type_keys_.end()) return it->second;
  type.near_groups = {std::vector<uint16_t>{0xffff}, groups_by(type.facts, &DeviceFacts::numa_node),
                      groups_by(type.facts, &DeviceFacts::pcie_root),
                      groups_by(type.facts, &DeviceFacts::link_island)};
  size_t index = types_.size();
  if (index == kMaxNodeTypes) {
    // The table is full of what nodes once were: reuse an entry, and let nobody keep what he knew of it.
    index = static_cast<size_t>(std::ranges::find(type_users_, 0u) - type_users_.begin());
    if (index == type_users_.size()) {
      return fail(
          Reason::LimitExceeded,
          "node " + facts.name + " would be the " + std::to_string(kMaxNodeTypes + 1) + "th kind of node",
          "leave out attributes whose values differ from node to node");
    }
    type_keys_.erase(type_key(types_[index].facts));
    types_[index] = std::move(type);
    changes_.lose();
  } else {
    types_.push_back(std::move(type));
    type_users_.push_back(0);
    for (auto& needs : needs_) needs.emplace_back();
    for (auto& sizes : sizes_) sizes.emplace_back();
  }
  for (ShapeId shape = 0; shape < shapes_.size(); ++shape) set_need(shape, index);
  type_keys_.emplace(std::move(key), static_cast<uint16_t>(index));
  return static_cast<uint16_t>(index);
}

Result<ShapeId> Cluster::shape_id(const Request& asked) {
  if (Status ok = check_request(asked); !ok) return fail(ok.error());
  Request request = in_one_form(asked);
  std::string key = shape_key(request);
  if (const auto it = shape_keys_.find(key); it != shape_keys_.end()) return it->second;
  if (shapes_.size() == kMaxShapes) {
    return fail(Reason::LimitExceeded, "more than " + std::to_string(kMaxShapes) + " different requests",
                "round the sizes that claims ask for");
  }
  const auto id = static_cast<ShapeId>(shapes_.size());
  const bool plain = request.device_ids.empty() && request.near == Near::Anywhere &&
                     request.partition.empty() && !request.exclusive && request.prefer == Prefer::Default;
  asks_.push_back({static_cast<int32_t>(request.cpu_milli), static_cast<int64_t>(request.node_memory_bytes),
                   static_cast<uint8_t>(request.devices), !request.device_ids.empty(),
                   request.exclusive || request.prefer == Prefer::Mutex,
                   request.near_required ? request.near : Near::Anywhere});
  const bool named = !request.device_ids.empty();
  shapes_.push_back({std::move(request), plain});
  needs_.emplace_back(types_.size());
  sizes_.emplace_back(types_.size());
  for (size_t type = 0; type < types_.size(); ++type) set_need(id, type);
  shape_keys_.emplace(std::move(key), id);
  if (named) {
    named_[id];
    for (NodeIndex node = 0; node < nodes_.size(); ++node) learn_names(id, node);
  }
  return id;
}

void Cluster::learn_names(ShapeId shape, NodeIndex index) {
  uint16_t bits = 0;
  for (const std::string& id : shapes_[shape].request.device_ids) {
    const auto device = find_device(id);
    if (device && device->first == index) bits |= static_cast<uint16_t>(1u << device->second);
  }
  auto& named = named_.at(shape);
  if (bits != 0) {
    named[index] = bits;
  } else {
    named.erase(index);
  }
}

}  // namespace tweendeck::placement

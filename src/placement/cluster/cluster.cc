// Nodes coming, changing and going.
#include "placement/cluster/cluster.h"

#include <algorithm>
#include <bit>

#include "placement/cluster/broken.h"

namespace tweendeck::placement {

void Cluster::forbid_marks() const {
  if (!marks_.empty()) broken("a node was changed during speculation");
}

NodeIndex Cluster::find_node(std::string_view name) const {
  const auto it = node_names_.find(std::string(name));
  return it == node_names_.end() || !nodes_[it->second].present ? kNoNode : it->second;
}

std::optional<std::pair<NodeIndex, uint32_t>> Cluster::find_device(std::string_view id) const {
  const auto it = device_ids_.find(std::string(id));
  if (it == device_ids_.end()) return std::nullopt;
  return it->second;
}

Status Cluster::check_ids(NodeIndex index, const NodeFacts& facts) const {
  for (const DeviceFacts& device : facts.devices) {
    const auto owner = find_device(device.id);
    if (!owner || owner->first == index) continue;
    return fail(Reason::InvalidArgument,
                "node " + facts.name + " lists device " + device.id + ", which node " +
                    records_[owner->first].facts.name + " has",
                "device ids are unique; remove the other node first if the device moved");
  }
  return {};
}

// Devices that hold claims keep their bits. Others are matched by id, then put where a bit is free.
Result<Cluster::Merged> Cluster::merge(NodeIndex index, const NodeFacts& facts) const {
  if (index >= nodes_.size() || nodes_[index].claims_held == 0) {
    return Merged{facts, static_cast<uint16_t>((1u << facts.devices.size()) - 1)};
  }
  const NodeState& node = nodes_[index];
  Merged merged{facts, 0};
  std::vector<DeviceFacts>& devices = merged.facts.devices;
  devices = records_[index].facts.devices;
  for (DeviceFacts& device : devices) device.healthy = false;
  std::vector<const DeviceFacts*> fresh;
  for (const DeviceFacts& device : facts.devices) {
    const auto old = std::ranges::find(devices, device.id, &DeviceFacts::id);
    if (old == devices.end()) {
      fresh.push_back(&device);
      continue;
    }
    const auto bit = static_cast<size_t>(old - devices.begin());
    const bool cut = !old->partitions.empty() || !device.partitions.empty();
    if (node.claims[bit] > 0 && cut &&
        (old->partitions != device.partitions || old->memory_bytes != device.memory_bytes)) {
      return fail(Reason::InvalidArgument,
                  "node " + facts.name + ", device " + device.id +
                      ": the partitions or the memory changed while " + std::to_string(node.claims[bit]) +
                      " slices are on it",
                  "end the claims on the device first");
    }
    *old = device;
    merged.there |= static_cast<uint16_t>(1u << bit);
  }
  size_t bit = 0;
  for (const DeviceFacts* device : fresh) {
    while (bit < devices.size() && ((merged.there >> bit & 1) != 0 || node.claims[bit] > 0)) ++bit;
    if (bit == kMaxDevicesPerNode) {
      return fail(Reason::LimitExceeded,
                  "node " + facts.name + " would have more than " + std::to_string(kMaxDevicesPerNode) +
                      " devices together with those that are gone but held",
                  "end the claims on its old devices first");
    }
    if (bit == devices.size()) devices.emplace_back();
    devices[bit] = *device;
    merged.there |= static_cast<uint16_t>(1u << bit);
  }
  while (!devices.empty() && (merged.there >> (devices.size() - 1) & 1) == 0 &&
         node.claims[devices.size() - 1] == 0) {
    devices.pop_back();
  }
  return merged;
}

Result<NodeIndex> Cluster::put_node(const NodeFacts& facts) {
  forbid_marks();
  if (Status ok = check_facts(facts); !ok) return fail(ok.error());
  const auto known = node_names_.find(facts.name);
  auto index = static_cast<NodeIndex>(nodes_.size());
  auto reused = gone_.end();
  if (known != node_names_.end()) {
    index = known->second;
    reused = std::ranges::find(gone_, index);
  } else {
    reused = std::ranges::find_if(gone_, [&](NodeIndex gone) { return nodes_[gone].claims_held == 0; });
    if (reused != gone_.end()) index = *reused;
  }
  if (index == kMaxNodes) {
    return fail(Reason::LimitExceeded, "more than " + std::to_string(kMaxNodes) + " nodes", "");
  }
  for (const auto* names : {&racks_, &blocks_}) {
    if (names->size() >= kMaxDomains && !names->has(names == &racks_ ? facts.rack : facts.block)) {
      return fail(Reason::LimitExceeded, "more than " + std::to_string(kMaxDomains) + " racks or blocks", "");
    }
  }
  if (Status ok = check_ids(index, facts); !ok) return fail(ok.error());
  Result<Merged> merged = merge(index, facts);
  if (!merged) return fail(merged.error());
  const Result<uint16_t> type = type_of(merged->facts);
  if (!type) return fail(type.error());
  if (reused != gone_.end()) gone_.erase(reused);
  if (index == nodes_.size()) {
    nodes_.emplace_back();
    records_.emplace_back();
  } else {
    erase_ids(index);
    --type_users_[nodes_[index].type];
    if (nodes_[index].present) --types_[nodes_[index].type].nodes;
    if (known == node_names_.end()) {
      node_names_.erase(records_[index].facts.name);
      nodes_[index] = NodeState{.version = nodes_[index].version};
      records_[index] = Record{};
    }
  }
  node_names_[facts.name] = index;
  store(index, std::move(*merged), *type);
  return index;
}

// Puts the new facts in place of the old ones; what is free changes by as much as what there is.
void Cluster::store(NodeIndex index, Merged merged, uint16_t type) {
  NodeState& node = nodes_[index];
  Record& record = records_[index];
  const NodeFacts& now = merged.facts;
  node.cpu_free_milli += static_cast<int32_t>(now.cpu_milli) - static_cast<int32_t>(record.facts.cpu_milli);
  node.memory_free_bytes +=
      static_cast<int64_t>(now.memory_bytes) - static_cast<int64_t>(record.facts.memory_bytes);
  for (uint32_t bit = 0; bit < kMaxDevicesPerNode; ++bit) {
    const uint64_t memory = bit < now.devices.size() ? now.devices[bit].memory_bytes : 0;
    if (node.claims[bit] == 0) {
      node.compute_free[bit] = bit < now.devices.size() ? kWholeCompute : 0;
      node.memory_free[bit] = static_cast<int64_t>(memory);
      continue;
    }
    const uint64_t before = record.facts.devices[bit].memory_bytes;
    node.memory_free[bit] += static_cast<int64_t>(memory) - static_cast<int64_t>(before);
    node.memory_free[bit] -=
        (static_cast<int64_t>(memory / 100) - static_cast<int64_t>(before / 100)) * record.percent_held[bit];
  }
  node.type = type;
  ++type_users_[type];
  ++types_[type].nodes;
  node.device_count = static_cast<uint8_t>(now.devices.size());
  node.present = true;
  node.cordoned = now.cordoned;
  node.rack = racks_.id(now.rack);
  node.block = blocks_.id(now.block);
  record.facts = std::move(merged.facts);
  record.there = merged.there;
  for (uint32_t bit = 0; bit < node.device_count; ++bit) {
    if ((record.there >> bit & 1) != 0) device_ids_[record.facts.devices[bit].id] = {index, bit};
  }
  for (const auto& [shape, named] : named_) learn_names(shape, index);
  refresh(index);
}

void Cluster::erase_ids(NodeIndex index) {
  const Record& record = records_[index];
  if (!nodes_[index].present) return;
  for (uint32_t bit = 0; bit < nodes_[index].device_count; ++bit) {
    if ((record.there >> bit & 1) != 0) device_ids_.erase(record.facts.devices[bit].id);
  }
}

Status Cluster::remove_node(std::string_view name) {
  forbid_marks();
  const NodeIndex index = find_node(name);
  if (index == kNoNode) {
    return fail(Reason::NotFound, "there is no node '" + std::string(name) + "'", "see the list of nodes");
  }
  erase_ids(index);
  nodes_[index].present = false;
  records_[index].there = 0;
  --types_[nodes_[index].type].nodes;
  gone_.push_back(index);
  for (const auto& [shape, named] : named_) learn_names(shape, index);
  refresh(index);
  return {};
}

Status Cluster::set_cordon(std::string_view name, bool cordoned) {
  forbid_marks();
  const NodeIndex index = find_node(name);
  if (index == kNoNode) {
    return fail(Reason::NotFound, "there is no node '" + std::string(name) + "'", "see the list of nodes");
  }
  nodes_[index].cordoned = records_[index].facts.cordoned = cordoned;
  refresh(index);
  return {};
}

Status Cluster::set_device(std::string_view id, bool DeviceFacts::* flag, bool value) {
  forbid_marks();
  const auto device = find_device(id);
  if (!device) {
    return fail(Reason::NotFound, "there is no device '" + std::string(id) + "'", "see the list of devices");
  }
  records_[device->first].facts.devices[device->second].*flag = value;
  refresh(device->first);
  return {};
}

Status Cluster::set_device_health(std::string_view id, bool healthy) {
  return set_device(id, &DeviceFacts::healthy, healthy);
}

Status Cluster::set_device_cordon(std::string_view id, bool cordoned) {
  return set_device(id, &DeviceFacts::cordoned, cordoned);
}

void Cluster::refresh(NodeIndex index) {
  NodeState& node = nodes_[index];
  node.usable = node.open = node.whole = 0;
  for (uint32_t bit = 0; bit < node.device_count; ++bit) refresh_device(node, records_[index], bit);
  changed(index);
}

void Cluster::refresh_device(NodeState& node, const Record& record, uint32_t device) const {
  const DeviceFacts& facts = record.facts.devices[device];
  const auto bit = static_cast<uint16_t>(1u << device);
  const bool usable = node.present && !node.cordoned && (record.there & bit) != 0 && facts.healthy &&
                      !facts.cordoned && node.memory_free[device] >= 0;
  const bool open = usable && (node.exclusive & bit) == 0 && node.claims[device] < facts.max_claims;
  const auto set = [bit](uint16_t& bits, bool on) {
    bits = static_cast<uint16_t>(on ? bits | bit : bits & ~bit);
  };
  set(node.usable, usable);
  set(node.open, open);
  set(node.whole, node.claims[device] == 0);
}

void Cluster::changed(NodeIndex index) {
  ++nodes_[index].version;
  changes_.push(index);
}

}  // namespace tweendeck::placement

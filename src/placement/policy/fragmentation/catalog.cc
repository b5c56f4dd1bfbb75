#include "placement/policy/fragmentation/catalog.h"

#include <algorithm>
#include <bit>

namespace tweendeck::placement::fragmentation {
namespace {

std::string models_of(const NodeFacts& facts) {
  std::vector<std::string> names;
  for (const DeviceFacts& device : facts.devices) {
    names.push_back(device.vendor + '\0' + device.model + '\0' + std::to_string(device.memory_bytes));
  }
  std::ranges::sort(names);
  names.erase(std::ranges::unique(names).begin(), names.end());
  std::string joined;
  for (const std::string& name : names) joined += name + '\1';
  return joined;
}

// Alike to every request that does not ask where devices lie to each other.
bool same_group(const DeviceFacts& a, const DeviceFacts& b) {
  return a.vendor == b.vendor && a.model == b.model && a.memory_bytes == b.memory_bytes &&
         a.isolation == b.isolation && a.max_claims == b.max_claims && a.partitions == b.partitions &&
         a.attributes == b.attributes;
}

uint16_t permille_of(uint64_t bytes, uint64_t of) {
  if (bytes == 0 || of == 0) return 0;
  // In steps of 1/1024 of the device, so that no product leaves 64 bits.
  const uint64_t unit = std::max<uint64_t>(1, of >> 20);
  return static_cast<uint16_t>(
      std::min<uint64_t>(kWholeRest, (bytes / unit * kWholeRest + of / unit - 1) / (of / unit)));
}

}  // namespace

void Catalog::forget_types() {
  types_.clear();
  needs_.clear();
  hosts_.clear();
  pool_allowed_.clear();
  pool_ids_.clear();
  pools_ = 0;
  max_cpu_milli_ = max_devices_ = 1;
}

bool Catalog::update(const Cluster& cluster) {
  const bool grew = types_.size() < cluster.types().size();
  while (types_.size() < cluster.types().size()) {
    const auto type = static_cast<uint16_t>(types_.size());
    add_type(cluster.types()[type]);
    for (KindId kind = 0; kind < kinds_.size(); ++kind) learn_needs(cluster, type, kind);
  }
  while (kind_of_shape_.size() < cluster.shapes()) {
    add_shape(cluster, static_cast<ShapeId>(kind_of_shape_.size()));
  }
  return grew;
}

void Catalog::add_type(const NodeType& type) {
  TypeView view;
  const std::vector<DeviceFacts>& devices = type.facts.devices;
  view.cpu_milli = type.facts.cpu_milli;
  view.node_memory = type.facts.memory_bytes;
  view.devices = static_cast<uint32_t>(devices.size());
  uint32_t position = 0;
  uint32_t placed = 0;
  for (uint32_t first = 0; first < devices.size(); ++first) {
    if ((placed >> first & 1) != 0) continue;
    view.group_begin[view.groups] = static_cast<uint8_t>(position);
    for (uint32_t device = first; device < devices.size(); ++device) {
      if ((placed >> device & 1) != 0 || !same_group(devices[first], devices[device])) continue;
      placed |= 1u << device;
      view.device_at[position] = static_cast<uint8_t>(device);
      view.group_of[position] = static_cast<uint8_t>(view.groups);
      ++position;
    }
    view.group_begin[++view.groups] = static_cast<uint8_t>(position);
  }
  const auto [pool, added] = pool_ids_.try_emplace(models_of(type.facts), static_cast<uint16_t>(pools_));
  if (added) {
    ++pools_;
    pool_allowed_.emplace_back(kinds_.size(), 0);
  }
  view.pool = pool->second;
  max_cpu_milli_ = std::max(max_cpu_milli_, view.cpu_milli);
  max_devices_ = std::max(max_devices_, view.devices);
  types_.push_back(view);
  needs_.emplace_back();
  hosts_.emplace_back();
}

void Catalog::add_shape(const Cluster& cluster, ShapeId shape) {
  const Shape& added = cluster.shape(shape);
  Request request = added.request;
  const uint64_t node_memory = request.node_memory_bytes;
  request.node_memory_bytes = 0;
  std::vector<KindId>& alike = kinds_by_size_[{request.cpu_milli, request.devices, request.compute_permille,
                                               request.memory_bytes, request.memory_percent}];
  const auto found =
      std::ranges::find_if(alike, [&](KindId kind) { return kinds_[kind].request == request; });
  if (found != alike.end()) {
    kind_of_shape_.push_back(*found);
    kinds_[*found].least_node_memory = std::min(kinds_[*found].least_node_memory, node_memory);
    return;
  }
  const auto id = static_cast<KindId>(kinds_.size());
  alike.push_back(id);
  kind_of_shape_.push_back(id);
  Kind kind;
  kind.shape = shape;
  kind.least_node_memory = node_memory;
  kind.cpu_milli = kind.least_cpu_milli = request.cpu_milli;
  kind.devices = request.devices;
  kind.plain = added.plain;
  kind.priced_as = id;
  for (KindId other = 0; other < id && request.devices <= 1; ++other) {
    Request same = kinds_[other].request;
    if (same.cpu_milli / kCpuStep + (same.cpu_milli % kCpuStep > 0) !=
        request.cpu_milli / kCpuStep + (request.cpu_milli % kCpuStep > 0)) {
      continue;
    }
    same.cpu_milli = request.cpu_milli;
    if (same != request) continue;
    kind.priced_as = other;
    kinds_[other].least_cpu_milli = std::min(kinds_[other].least_cpu_milli, kind.cpu_milli);
    break;
  }
  kind.request = std::move(request);
  kinds_.push_back(std::move(kind));
  for (std::vector<uint8_t>& allowed : pool_allowed_) allowed.push_back(0);
  for (uint16_t type = 0; type < types_.size(); ++type) learn_needs(cluster, type, id);
}

void Catalog::learn_needs(const Cluster& cluster, uint16_t type, KindId id) {
  Kind& kind = kinds_[id];
  const TypeView& view = types_[type];
  const NodeFacts& facts = cluster.types()[type].facts;
  const uint16_t allowed = cluster.allowed_devices(type, kind.shape);
  uint32_t usable = 0;
  for (uint32_t group = 0; group < view.groups; ++group) {
    const uint32_t device = view.device_at[view.group_begin[group]];
    Need need;
    need.allowed = kind.devices > 0 && (allowed >> device & 1) != 0;
    if (need.allowed) {
      const SliceSize size = cluster.slice_size(type, kind.shape, device);
      const DeviceFacts& at = facts.devices[device];
      if (size.profile != kNoProfile) {
        need.compute =
            static_cast<uint16_t>(at.partitions[size.profile].slots * kWholeRest / kMaxPartitionSlots);
      } else {
        need.compute = size.compute_permille;
        need.memory = permille_of(size.memory_bytes, at.memory_bytes);
      }
      kind.size = std::max<uint32_t>(kind.size, need.size());
      usable += view.group_begin[group + 1] - view.group_begin[group];
      pool_allowed_[view.pool][id] = 1;
    }
    needs_[type].push_back(need);
  }
  hosts_[type].push_back(usable >= kind.devices && view.cpu_milli >= kind.cpu_milli &&
                         view.node_memory >= kind.least_node_memory);
}

}  // namespace tweendeck::placement::fragmentation

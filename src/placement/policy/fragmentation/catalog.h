// Kinds of requests and types of nodes as the policy sees them, and what the one takes from the other.
//
// A kind is a shape without what only decides feasibility on a node (its memory), so shapes that are priced alike
// share scores. Follows the cluster: `update` after types or shapes were added, `forget_types` when an entry of the
// cluster's types may mean something else now (its change log says "lost").
#pragma once

#include <cstdint>
#include <map>
#include <span>
#include <string>
#include <tuple>
#include <vector>

#include "placement/cluster/cluster.h"
#include "placement/policy/fragmentation/state.h"

namespace tweendeck::placement::fragmentation {

using KindId = uint32_t;

struct Kind {
  Request request;                          // node memory blank
  ShapeId shape = 0;                        // one of the kind's
  uint64_t least_node_memory = UINT64_MAX;  // of its shapes
  uint32_t cpu_milli = 0;
  uint32_t devices = 0;
  uint32_t size = 0;  // permille of a device, the larger of compute and memory, where it is largest
  KindId priced_as =
      0;  // the first kind that no state can tell from it: CPU that is equal in kCpuStep, rounded up
  uint32_t least_cpu_milli = 0;  // of the kinds priced as this one
  bool plain = false;            // only sizes and selectors: states decide where it fits
};

// What one slice takes from a device of a group of equal devices, in permille.
struct Need {
  bool allowed = false;
  uint16_t compute = 0;
  uint16_t memory = 0;  // rounded up
  uint16_t size() const { return compute > memory ? compute : memory; }
  bool operator==(const Need&) const = default;
};

struct TypeView {
  uint32_t cpu_milli = 0;
  uint64_t node_memory = 0;
  uint32_t devices = 0;
  uint32_t groups = 0;                                        // of equal devices
  uint16_t pool = 0;                                          // types with the same models
  std::array<uint8_t, kMaxDevicesPerNode> device_at{};        // device of each position of a state
  std::array<uint8_t, kMaxDevicesPerNode> group_of{};         // by position
  std::array<uint8_t, kMaxDevicesPerNode + 1> group_begin{};  // positions
  uint32_t end_of(uint32_t position) const { return group_begin[group_of[position] + 1u]; }
};

class Catalog {
 public:
  void forget_types();
  // True when types were added: what was derived from the set of types is stale.
  bool update(const Cluster& cluster);

  KindId kind_of(ShapeId shape) const { return kind_of_shape_[shape]; }
  std::span<const Kind> kinds() const { return kinds_; }
  std::span<const TypeView> types() const { return types_; }
  uint32_t pools() const { return pools_; }
  uint32_t max_cpu_milli() const { return max_cpu_milli_; }
  uint32_t max_devices() const { return max_devices_; }

  // By group.
  std::span<const Need> needs(uint16_t type, KindId kind) const {
    const uint32_t groups = types_[type].groups;
    return std::span(needs_[type]).subspan(static_cast<size_t>(kind) * groups, groups);
  }
  // Whether an empty node of the type could hold one claim of the kind.
  bool hosts(uint16_t type, KindId kind) const { return hosts_[type][kind] != 0; }
  // Whether any device of the type's pool may be used by the kind, whatever its size.
  bool pool_allowed(uint16_t pool, KindId kind) const { return pool_allowed_[pool][kind] != 0; }

 private:
  void add_type(const NodeType& type);
  void add_shape(const Cluster& cluster, ShapeId shape);
  void learn_needs(const Cluster& cluster, uint16_t type, KindId kind);

  std::vector<Kind> kinds_;
  std::vector<KindId> kind_of_shape_;
  std::map<std::tuple<uint32_t, uint32_t, uint32_t, uint64_t, uint32_t>, std::vector<KindId>> kinds_by_size_;
  std::vector<TypeView> types_;
  std::map<std::string, uint16_t> pool_ids_;
  uint32_t pools_ = 0;
  uint32_t max_cpu_milli_ = 1;
  uint32_t max_devices_ = 1;
  std::vector<std::vector<Need>> needs_;            // by type; kind * groups + group
  std::vector<std::vector<uint8_t>> hosts_;         // by type, kind
  std::vector<std::vector<uint8_t>> pool_allowed_;  // by pool, kind
};

}  // namespace tweendeck::placement::fragmentation

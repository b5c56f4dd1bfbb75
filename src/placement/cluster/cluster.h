// The book of a cluster: what every node and device has left. Exact, dense, with undo.
//
// `take` and `give` are O(devices of the claim). Nothing here chooses: policies read, the engine writes.
// Everything that a decision depends on is integers, and node indices are given in order of arrival, so the
// same calls leave the same book on every machine. Not safe for concurrent use; const calls may run together.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "placement/cluster/facts.h"

namespace tweendeck::placement {

using NodeIndex = uint32_t;  // dense; an index is used again after its node is gone
using ShapeId = uint32_t;    // dense; never used again
inline constexpr NodeIndex kNoNode = UINT32_MAX;

// Where a claim lies: a node and the devices on it, one bit each. `partition_starts[i]` is the first slot on
// device i where the shape asks for partitions.
struct Spot {
  NodeIndex node = kNoNode;
  uint16_t devices = 0;
  std::array<uint8_t, kMaxDevicesPerNode> partition_starts{};
  bool operator==(const Spot&) const = default;
};

// One node as it is now. Dense, so that a scan over the cluster stays in cache.
struct NodeState {
  uint32_t cpu_free_milli = 0;
  uint64_t memory_free_bytes = 0;
  uint16_t type = 0;       // index of its NodeType
  uint16_t usable = 0;     // bit per device: healthy, not cordoned; 0 when the node is cordoned or gone
  uint16_t whole = 0;      // bit per device: nobody is on it (whatever its health)
  uint16_t exclusive = 0;  // bit per device: held by an exclusive claim
  uint8_t device_count = 0;
  bool present = false;
  bool cordoned = false;
  uint32_t rack = 0;  // dense ids, 0 = unknown
  uint32_t block = 0;
  uint32_t version = 0;                                       // changes with every change of this node
  std::array<uint16_t, kMaxDevicesPerNode> compute_free{};    // permille
  std::array<uint16_t, kMaxDevicesPerNode> claims{};          // slices on it
  std::array<uint8_t, kMaxDevicesPerNode> partition_slots{};  // bit per slot in use
  std::array<uint64_t, kMaxDevicesPerNode> memory_free{};     // bytes
};

// What equal machines have in common: capacity, device models and everything that selectors look at, device
// ids and names left out. Nodes of a type differ only in what is left on them, so a verdict about a type is one
// about all its nodes.
struct NodeType {
  NodeFacts facts;  // names and ids blank
  uint32_t nodes = 0;
};

// A request as the cluster sees it: constant for the life of the cluster.
struct Shape {
  Request request;
  bool plain = false;  // only sizes and models: no ids, nearness, partitions, exclusivity or preference
};

class Cluster {
 public:
  // Errors: LimitExceeded, InvalidArgument (with the field). A name that exists is updated in place: what claims
  // hold stays booked even where a device shrank or went; such a device has nothing free and is not usable.
  Result<NodeIndex> put_node(const NodeFacts& facts);
  // The node takes nothing new; its index is used again once its last claim was given back.
  Status remove_node(std::string_view name);
  Status set_device_health(std::string_view device_id, bool healthy);
  Status set_cordon(std::string_view node, bool cordoned);

  // Interns. Errors: InvalidArgument (with the field), LimitExceeded.
  Result<ShapeId> shape_id(const Request& request);
  const Shape& shape(ShapeId id) const;
  size_t shapes() const;

  std::span<const NodeState> nodes() const;
  const NodeFacts& facts(NodeIndex node) const;
  std::span<const NodeType> types() const;
  NodeIndex find_node(std::string_view name) const;  // kNoNode when unknown

  // Bit per device of a node of this type that the shape's selectors, isolation and sizes allow at all,
  // whatever is free. Cached per (type, shape); device ids are not part of a type and not looked at here.
  uint16_t allowed_devices(uint16_t type, ShapeId shape) const;

  // Devices of the node on which one slice of the shape fits now; 0 also when CPU or memory do not suffice or
  // fewer than the asked number of devices fit. Nearness is not looked at here.
  uint16_t fitting_devices(NodeIndex node, ShapeId shape) const;
  // Whether the whole claim fits, nearness and partitions included.
  bool fits(NodeIndex node, ShapeId shape) const;
  // How many claims of the shape fit on the node one after the other, at most `limit`.
  uint32_t slots(NodeIndex node, ShapeId shape, uint32_t limit) const;

  // `spot` must fit; checked in every build, because a double booking is worse than a stop.
  void take(const Spot& spot, ShapeId shape);
  void give(const Spot& spot, ShapeId shape);

  // Speculation: everything taken and given since the mark is undone in reverse order; `commit` forgets the
  // marks. Marks nest.
  using Mark = size_t;
  Mark mark();
  void undo_to(Mark mark);
  void commit(Mark mark);

  // Nodes changed since a cursor, in order, each change once per take, give or update, undo included: what
  // indices catch up from. The log is bounded: `lost` means "read everything again".
  struct Changes {
    std::span<const NodeIndex> nodes;
    bool lost = false;
  };
  uint64_t cursor() const;
  Changes changes_since(uint64_t cursor) const;

  uint64_t hash() const;  // of all free amounts, in index order; equal books have equal hashes
};

}  // namespace tweendeck::placement

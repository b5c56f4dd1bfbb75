// The book of a cluster: what every node and device has left. Exact, dense, with undo.
//
// `take` and `give` are O(devices of the claim). Nothing here chooses between nodes or devices: policies read,
// the engine writes. Everything that a decision depends on is integers, and node indices are given in order of
// arrival, so the same calls leave the same book on every machine. A Cluster is a value: a copy is a book of its
// own, for what-if. Not safe for concurrent use; const calls may run together.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "base/result.h"
#include "placement/cluster/changes.h"
#include "placement/cluster/facts.h"
#include "placement/cluster/names.h"
#include "placement/cluster/selectors.h"

namespace tweendeck::placement {

using NodeIndex = uint32_t;  // dense; an index is used again after its node is gone
using ShapeId = uint32_t;    // dense; never used again
inline constexpr NodeIndex kNoNode = UINT32_MAX;

inline constexpr uint32_t kMaxNodes = 1u << 20;
inline constexpr uint32_t kMaxShapes = 1u << 20;
inline constexpr uint32_t kMaxNodeTypes = 1u << 16;  // of which nodes exist at one time
inline constexpr uint32_t kMaxDomains = 1u << 20;    // racks; blocks

// Where a claim lies: a node and the devices on it, one bit each. `partition_starts[i]` is the first slot on
// device i where the slice is a partition, else 0.
struct Spot {
  NodeIndex node = kNoNode;
  uint16_t devices = 0;
  std::array<uint8_t, kMaxDevicesPerNode> partition_starts{};
  bool operator==(const Spot&) const = default;
};

// One node as it is now. Dense, so that a scan over the cluster stays in cache. Free amounts are negative where
// a node or device shrank below what claims hold; such a device is not usable.
struct alignas(64) NodeState {
  int32_t cpu_free_milli = 0;
  uint16_t type = 0;    // index of its NodeType
  uint16_t usable = 0;  // bit per device: there, healthy, not cordoned; 0 when the node is cordoned or gone
  uint16_t open = 0;    // bit per device: usable, not held exclusively, below its max_claims
  uint16_t whole = 0;   // bit per device: nobody is on it (whatever its health)
  uint16_t exclusive = 0;  // bit per device: held by an exclusive claim
  uint8_t device_count = 0;
  bool present = false;
  bool cordoned = false;
  int64_t memory_free_bytes = 0;
  uint32_t rack = 0;  // dense ids, 0 = unknown
  uint32_t block = 0;
  uint32_t claims_held = 0;                                   // claims on the node, those without devices too
  uint32_t version = 0;                                       // changes with every change of this node
  std::array<uint16_t, kMaxDevicesPerNode> compute_free{};    // permille
  std::array<uint16_t, kMaxDevicesPerNode> claims{};          // slices on it
  std::array<uint8_t, kMaxDevicesPerNode> partition_slots{};  // bit per slot in use
  std::array<int64_t, kMaxDevicesPerNode> memory_free{};      // bytes
};

// What equal machines have in common: capacity, device models and everything that selectors look at; names,
// ids, health, cordon, rack and block are blank. Nodes of a type differ only in what is left on them, so a
// verdict about a type is one about all its nodes.
struct NodeType {
  NodeFacts facts;
  uint32_t nodes = 0;                                // 0 = no node is of this type now
  std::array<std::vector<uint16_t>, 4> near_groups;  // by Near: device bits of each group
};

// A request as the cluster sees it: constant for the life of the cluster.
struct Shape {
  Request request;
  bool plain =
      false;  // only sizes, models, vendor, isolation, conditions: no ids, nearness, named partition,
              // exclusivity or preference
};

class Cluster {
 public:
  // Errors: LimitExceeded, InvalidArgument (with the field). A name that exists is updated in place: what claims
  // hold stays booked even where a device shrank or went; such a device is not usable. Devices keep their bits.
  // The partitions of a device that holds claims cannot change.
  Result<NodeIndex> put_node(const NodeFacts& facts);
  // The node takes nothing new; its index is used again once its last claim was given back. NotFound.
  Status remove_node(std::string_view name);
  Status set_device_health(std::string_view device_id, bool healthy);   // NotFound
  Status set_device_cordon(std::string_view device_id, bool cordoned);  // NotFound
  Status set_cordon(std::string_view node, bool cordoned);              // NotFound

  // Interns. What does not change the meaning is put in one form first: lists are sorted, nearness of a single
  // device is dropped. Errors: InvalidArgument (with the field), LimitExceeded.
  Result<ShapeId> shape_id(const Request& request);
  const Shape& shape(ShapeId id) const { return shapes_[id]; }
  size_t shapes() const { return shapes_.size(); }

  std::span<const NodeState> nodes() const { return nodes_; }
  // As given to put_node, devices in the order of their bits. A device that went while claims hold it is still
  // listed, as unhealthy.
  const NodeFacts& facts(NodeIndex node) const { return records_[node].facts; }
  std::span<const NodeType> types() const { return types_; }
  NodeIndex find_node(std::string_view name) const;  // kNoNode when unknown or gone
  std::optional<std::pair<NodeIndex, uint32_t>> find_device(std::string_view id) const;  // node, bit
  const Names& racks() const { return racks_; }  // ids of NodeState::rack
  const Names& blocks() const { return blocks_; }

  // Bit per device of a node of this type that the shape's selectors, isolation and sizes allow at all,
  // whatever is free. A table look-up; device ids are not part of a type and not looked at here.
  uint16_t allowed_devices(uint16_t type, ShapeId shape) const { return needs_[shape][type].allowed; }
  // What a slice takes from a device of a node of this type.
  SliceSize slice_size(uint16_t type, ShapeId shape, uint32_t device) const;
  // Device bits of each group of near devices; Near::Anywhere has one group of all.
  std::span<const uint16_t> near_groups(uint16_t type, Near near) const {
    return types_[type].near_groups[static_cast<size_t>(near)];
  }

  // Devices of the node on which one slice of the shape fits now; 0 also when CPU or memory do not suffice or
  // fewer than the asked number of devices fit, and for shapes without devices. Nearness is not looked at here.
  uint16_t fitting_devices(NodeIndex node, ShapeId shape) const;
  // Whether the whole claim fits, nearness and partitions included.
  bool fits(NodeIndex node, ShapeId shape) const;
  // How many claims of the shape fit on the node one after the other, at most `limit`, if each takes the devices
  // that have room for most more.
  // Only the devices of `within` count: an island.
  uint32_t slots(NodeIndex node, ShapeId shape, uint32_t limit, uint16_t within = UINT16_MAX) const;
  // These devices with a start for each partition, chosen as partitions.h says. The claim must fit on them.
  Spot spot(NodeIndex node, uint16_t devices, ShapeId shape) const;
  // Whether exactly this can be taken now.
  bool fits(const Spot& spot, ShapeId shape) const;

  // Why a claim cannot possibly be there, whatever the health and free memory of the devices; None when it can: NotFound
  // (the node or a device), InvalidArgument (another number of devices), DeviceHeld, InsufficientCompute,
  // PartitionMismatch, InsufficientPartitions, LimitExceeded.
  Reason held_problem(const Spot& spot, ShapeId shape) const;

  // `spot` must fit, and what is given must have been taken. Checked in every build, because a double booking
  // is worse than a stop.
  void take(const Spot& spot, ShapeId shape);
  // Books what is known to be there; there must be no held_problem. Free memory and CPU may become negative.
  void take_held(const Spot& spot, ShapeId shape);
  void give(const Spot& spot, ShapeId shape);

  // Speculation: everything taken and given since the mark is undone in reverse order; `commit` forgets the
  // mark. Marks nest; undoing or committing one ends those made after it. While a mark stands, nodes and
  // devices cannot be put, removed or changed.
  using Mark = size_t;
  Mark mark();
  void undo_to(Mark mark);
  void commit(Mark mark);

  // Nodes changed since a cursor, in order, each change once per take, give or update, undo included: what
  // indices catch up from. The log is bounded: `lost` means "read everything again".
  using Changes = ChangeLog::Changes;
  uint64_t cursor() const { return changes_.cursor(); }
  Changes changes_since(uint64_t cursor) const { return changes_.since(cursor); }

  uint64_t hash() const;  // of all free amounts, in index order; equal books have equal hashes

 private:
  struct Need {  // of one shape on one type
    uint16_t allowed = 0;
    uint16_t compute_permille = 0;  // if uniform
    bool uniform = true;            // the same sizes on every allowed device, no partitions
    int64_t memory_bytes = 0;       // if uniform
  };
  struct Ask {  // what of a shape the hot path reads
    int32_t cpu_milli = 0;
    int64_t node_memory_bytes = 0;
    uint8_t devices = 0;
    bool named = false;          // names devices
    bool whole_only = false;     // exclusive or mutex
    Near near = Near::Anywhere;  // if required
  };
  struct Record {
    NodeFacts facts;
    uint16_t there = 0;                                       // bit per device that the last facts listed
    std::array<uint16_t, kMaxDevicesPerNode> percent_held{};  // of memory, by claims that ask in percent
  };
  struct Change {
    Spot spot;
    ShapeId shape;
    bool taken;
  };
  struct Merged {  // new facts of a node and the bits of the devices they list
    NodeFacts facts;
    uint16_t there = 0;
  };

  void forbid_marks() const;
  Result<Merged> merge(NodeIndex index, const NodeFacts& facts) const;
  Status check_ids(NodeIndex index, const NodeFacts& facts) const;
  void store(NodeIndex index, Merged merged, uint16_t type);
  void erase_ids(NodeIndex index);
  Status set_device(std::string_view id, bool DeviceFacts::* flag, bool value);
  void refresh(NodeIndex index);
  void refresh_device(NodeState& node, const Record& record, uint32_t device) const;
  void changed(NodeIndex index);

  Result<uint16_t> type_of(const NodeFacts& facts);
  Need need_of(const NodeType& type, const Request& request) const;
  void set_need(ShapeId shape, size_t type);
  void learn_names(ShapeId shape, NodeIndex index);

  bool host_fits(const NodeState& node, const Ask& ask) const;
  bool slice_fits(const NodeState& node, uint32_t device, const SliceSize& size) const;
  bool near_enough(const NodeState& node, uint16_t devices, const Ask& ask) const;
  uint32_t device_slots(const NodeState& node, ShapeId shape, uint32_t device, uint32_t limit) const;
  uint32_t group_slots(const NodeState& node, ShapeId shape, uint16_t group, uint32_t limit) const;

  Reason slice_problem(const NodeState& node, uint32_t device, ShapeId shape, uint32_t start) const;
  void book(const Spot& spot, ShapeId shape, bool taken);

  std::vector<NodeState> nodes_;
  std::vector<Record> records_;
  std::vector<NodeIndex> gone_;                            // in order of going; may hold claims still
  std::unordered_map<std::string, NodeIndex> node_names_;  // gone ones too
  std::unordered_map<std::string, std::pair<NodeIndex, uint32_t>> device_ids_;
  Names racks_;
  Names blocks_;
  std::vector<NodeType> types_;
  std::vector<uint32_t> type_users_;  // nodes of the type, gone ones too
  std::unordered_map<std::string, uint16_t> type_keys_;
  std::vector<Shape> shapes_;
  std::vector<Ask> asks_;
  std::unordered_map<std::string, ShapeId> shape_keys_;
  std::vector<std::vector<Need>> needs_;                    // by shape, type
  std::vector<std::vector<std::vector<SliceSize>>> sizes_;  // and device, where not uniform
  std::unordered_map<ShapeId, std::unordered_map<NodeIndex, uint16_t>> named_;  // of shapes that name devices
  std::vector<Change> journal_;
  std::vector<size_t> marks_;  // journal sizes
  ChangeLog changes_;
};

}  // namespace tweendeck::placement

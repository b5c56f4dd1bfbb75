// Which nodes are in which state now: the index that decisions search instead of nodes.
//
// A class is a state that some node is or was in; a live one has a slot, dense and used again. Slots are listed whose class,
// or the most CPU that a node of it has left, changed since the list was last forgotten.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "placement/policy/fragmentation/flat_table.h"
#include "placement/policy/fragmentation/node_set.h"
#include "placement/policy/fragmentation/scorer.h"
#include "placement/policy/fragmentation/state.h"

namespace tweendeck::placement::fragmentation {

using ClassId = uint32_t;
using SlotId = uint32_t;
inline constexpr ClassId kNoClass = UINT32_MAX;

struct Class {
  State state;
  uint64_t hash = 0;
  Worth worth;
  uint32_t nodes = 0;
  SlotId slot = UINT32_MAX;  // while nodes > 0
};

// What the table of scores reads of a slot. The most that a node of it has left is at least that, and exact after a search
// that failed.
struct Live {
  ClassId id = kNoClass;  // kNoClass = free
  int32_t max_cpu_milli = 0;
  int64_t max_memory_bytes = 0;
  uint64_t hash = 0;
  uint16_t type = 0;
  bool listed = false;  // among `changed`
};

class Classes {
 public:
  // The class of a state; `worth` is worked out when it is new.
  ClassId find(const State& state, Scorer& scorer);
  void enter(ClassId id, NodeIndex node, const NodeState& state);
  void leave(ClassId id, NodeIndex node);
  // A node stayed in its class, with another amount of CPU or memory left.
  void stay(ClassId id, const NodeState& state);
  // After a search among all nodes of a class failed.
  void set_most(SlotId slot, int32_t cpu_milli, int64_t memory_bytes);

  const Class& operator[](ClassId id) const { return classes_[id]; }
  size_t size() const { return classes_.size(); }
  size_t live() const { return live_; }
  const NodeSet& members(const Class& of) const { return members_[of.slot]; }
  std::span<const Live> slots() const { return slots_; }

  std::span<const SlotId> changed() const { return changed_; }
  void forget_changed();

 private:
  void list(SlotId slot);
  SlotId take_slot();

  FlatTable<State, ClassId> ids_{SIZE_MAX};
  std::vector<Class> classes_;
  std::vector<Live> slots_;
  std::vector<SlotId> free_slots_;
  size_t live_ = 0;
  std::vector<NodeSet> members_;  // by slot
  std::vector<SlotId> changed_;
};

}  // namespace tweendeck::placement::fragmentation

// Which nodes are in which state now: the index that decisions search instead of nodes.
//
// A class is a state that some node is or was in; a live one has a slot, dense and used again, but not before many others
// were: a class that comes back mostly finds its slot, and boards what they knew of it. Every change of what a slot
// stands for, or of the most CPU that a node of it has left, is logged by slot, so that each board catches up by itself.
#pragma once

#include <cstdint>
#include <deque>
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
  SlotId slot = UINT32_MAX;
  int64_t max_memory_bytes =
      0;  // at least what the node with most has left; exact after a search that failed
};

// What boards read of a slot.
struct Live {
  ClassId id = kNoClass;      // kNoClass = free
  int32_t max_cpu_milli = 0;  // likewise
  uint64_t hash = 0;
  uint16_t type = 0;
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
  void set_most(ClassId id, int32_t cpu_milli, int64_t memory_bytes);

  const Class& operator[](ClassId id) const { return classes_[id]; }
  size_t size() const { return classes_.size(); }
  size_t live() const { return live_; }
  const NodeSet& members(const Class& of) const { return members_[of.slot]; }
  std::span<const Live> slots() const { return slots_; }

  uint64_t cursor() const { return log_begin_ + log_.size(); }
  // Slots changed since then; `lost` when too long ago.
  struct Changes {
    std::span<const SlotId> slots;
    bool lost = false;
  };
  Changes since(uint64_t cursor) const;

 private:
  void log(SlotId slot);
  SlotId take_slot(ClassId id);

  FlatTable<State, ClassId> ids_{SIZE_MAX};
  std::vector<Class> classes_;
  std::vector<Live> slots_;
  std::vector<ClassId> owners_;    // by slot: the last class
  std::deque<SlotId> free_slots_;  // the longest free first; also slots whose class came back
  size_t live_ = 0;
  std::vector<NodeSet> members_;  // by slot
  std::vector<SlotId> log_;
  uint64_t log_begin_ = 0;
};

}  // namespace tweendeck::placement::fragmentation

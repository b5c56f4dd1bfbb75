#include "placement/policy/fragmentation/classes.h"

#include <algorithm>

namespace tweendeck::placement::fragmentation {
ClassId Classes::find(const State& state, Scorer& scorer) {
  const uint64_t hash = hash_of(state);
  const auto [id, added] = ids_.find_or_add(state, hash);
  if (added) {
    id = static_cast<ClassId>(classes_.size());
    classes_.push_back({state, hash, scorer.worth(state), 0, UINT32_MAX});
  }
  return id;
}

SlotId Classes::take_slot() {
  if (!free_slots_.empty()) {
    const SlotId slot = free_slots_.back();
    free_slots_.pop_back();
    return slot;
  }
  slots_.emplace_back();
  members_.emplace_back();
  return static_cast<SlotId>(slots_.size() - 1);
}

void Classes::enter(ClassId id, NodeIndex node, const NodeState& state) {
  Class& entered = classes_[id];
  if (entered.nodes++ == 0) {
    entered.slot = take_slot();
    ++live_;
    const bool listed = slots_[entered.slot].listed;
    slots_[entered.slot] = {id, INT32_MIN, INT64_MIN, entered.hash, entered.state.type, listed};
  }
  members_[entered.slot].insert(node);
  stay(id, state);
}

void Classes::stay(ClassId id, const NodeState& state) {
  const SlotId slot = classes_[id].slot;
  Live& live = slots_[slot];
  live.max_memory_bytes = std::max(live.max_memory_bytes, state.memory_free_bytes);
  if (state.cpu_free_milli <= live.max_cpu_milli) return;
  live.max_cpu_milli = state.cpu_free_milli;
  list(slot);
}

void Classes::leave(ClassId id, NodeIndex node) {
  Class& left = classes_[id];
  members_[left.slot].erase(node);
  if (--left.nodes > 0) return;
  --live_;
  slots_[left.slot].id = kNoClass;
  free_slots_.push_back(left.slot);
  list(left.slot);
}

void Classes::set_most(SlotId slot, int32_t cpu_milli, int64_t memory_bytes) {
  Live& live = slots_[slot];
  live.max_memory_bytes = memory_bytes;
  if (cpu_milli == live.max_cpu_milli) return;
  live.max_cpu_milli = cpu_milli;
  list(slot);
}

void Classes::list(SlotId slot) {
  if (slots_[slot].listed) return;
  slots_[slot].listed = true;
  changed_.push_back(slot);
}

void Classes::forget_changed() {
  for (const SlotId slot : changed_) slots_[slot].listed = false;
  changed_.clear();
}

}  // namespace tweendeck::placement::fragmentation

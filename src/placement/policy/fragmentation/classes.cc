#include "placement/policy/fragmentation/classes.h"

#include <algorithm>

namespace tweendeck::placement::fragmentation {
namespace {

constexpr size_t kLog = 1u << 15;  // a board that is further behind is rebuilt, which costs less
constexpr size_t kSpareSlots =
    64;  // and as many as a quarter of the live ones, before a slot changes its class

}  // namespace

ClassId Classes::find(const State& state, Scorer& scorer) {
  const uint64_t hash = hash_of(state);
  const auto [id, added] = ids_.find_or_add(state, hash);
  if (added) {
    id = static_cast<ClassId>(classes_.size());
    classes_.push_back({state, hash, scorer.worth(state), 0, UINT32_MAX, 0});
  }
  return id;
}

SlotId Classes::take_slot(ClassId id) {
  const SlotId last = classes_[id].slot;
  if (last != UINT32_MAX && owners_[last] == id && slots_[last].id == kNoClass) return last;
  while (free_slots_.size() > kSpareSlots + live_ / 4) {
    const SlotId slot = free_slots_.front();
    free_slots_.pop_front();
    if (slots_[slot].id == kNoClass) return slot;
  }
  const auto slot = static_cast<SlotId>(slots_.size());
  slots_.emplace_back();
  owners_.push_back(kNoClass);
  members_.emplace_back();
  return slot;
}

void Classes::enter(ClassId id, NodeIndex node, const NodeState& state) {
  Class& entered = classes_[id];
  if (entered.nodes++ == 0) {
    entered.slot = take_slot(id);
    ++live_;
    owners_[entered.slot] = id;
    slots_[entered.slot] = {id, INT32_MIN, entered.hash, entered.state.type};
    entered.max_memory_bytes = INT64_MIN;
  }
  members_[entered.slot].insert(node);
  stay(id, state);
}

void Classes::stay(ClassId id, const NodeState& state) {
  Class& in = classes_[id];
  if (int32_t& most = slots_[in.slot].max_cpu_milli; state.cpu_free_milli > most) {
    most = state.cpu_free_milli;
    log(in.slot);
  }
  in.max_memory_bytes = std::max(in.max_memory_bytes, state.memory_free_bytes);
}

void Classes::leave(ClassId id, NodeIndex node) {
  Class& left = classes_[id];
  members_[left.slot].erase(node);
  if (--left.nodes > 0) return;
  --live_;
  slots_[left.slot].id = kNoClass;
  free_slots_.push_back(left.slot);
  log(left.slot);
}

void Classes::set_most(ClassId id, int32_t cpu_milli, int64_t memory_bytes) {
  Class& searched = classes_[id];
  searched.max_memory_bytes = memory_bytes;
  int32_t& most = slots_[searched.slot].max_cpu_milli;
  if (cpu_milli == most) return;
  most = cpu_milli;
  log(searched.slot);
}

void Classes::log(SlotId slot) {
  if (log_.size() == 2 * kLog) {
    log_.erase(log_.begin(), log_.begin() + kLog);
    log_begin_ += kLog;
  }
  log_.push_back(slot);
}

Classes::Changes Classes::since(uint64_t cursor) const {
  if (cursor < log_begin_) return {{}, true};
  return {std::span(log_).subspan(static_cast<size_t>(cursor - log_begin_)), false};
}

}  // namespace tweendeck::placement::fragmentation

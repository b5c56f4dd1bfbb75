// Sets of holders, each kept once: a block's holders are a 32-bit name of a set.
//
// Neighbouring blocks of a prompt mostly have the same holders, so there are few sets however many blocks. A
// set never changes; "one holder more" is another set. A set of one holder is named by the holder itself and
// takes no memory.
//
// One writer; view() and holds() may be called by readers between enter() and leave() of Readers.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <optional>
#include <span>
#include <vector>

#include "routing/kv/budget.h"
#include "routing/kv/readers.h"

namespace tweendeck::routing::kv {

using Lane = uint16_t;   // a holder; 1..kMaxLanes-1
using SetId = uint32_t;  // 0 = the empty set; below kMaxLanes = the set of this one holder
inline constexpr uint32_t kMaxLanes = 1 << 14;

class HolderSets {
 public:
  HolderSets(Budget& budget, Readers& readers);
  ~HolderSets();

  // The set with `lane` in it, or without. nullopt: the budget is spent. The name stays valid while it is
  // counted by ref(), and until the next call of with() or without().
  std::optional<SetId> with(SetId set, Lane lane);
  std::optional<SetId> without(SetId set, Lane lane);
  void ref(SetId set);
  void unref(SetId set);  // the last one frees it

  bool holds(SetId set, Lane lane) const;
  // The members in ascending order; `one` is where a set of one holder is put.
  std::span<const Lane> view(SetId set, Lane& one) const;

  size_t sets() const { return live_; }

 private:
  static constexpr uint32_t kChunkSets = 4096;
  static constexpr uint32_t kMaxChunks = 4096;
  struct Set {
    uint64_t serial;  // never used again, other than the name
    uint64_t hash;
    uint32_t refs;
    uint32_t count;
    Lane* lanes() { return reinterpret_cast<Lane*>(this + 1); }
    const Lane* lanes() const { return reinterpret_cast<const Lane*>(this + 1); }
    std::span<const Lane> view() const { return {lanes(), count}; }
    static size_t bytes(size_t count) { return sizeof(Set) + count * sizeof(Lane); }
  };
  struct Chunk {
    std::array<std::atomic<Set*>, kChunkSets> sets{};
  };
  struct Step {  // a change that was made lately
    uint64_t from_serial = 0;
    uint64_t to_serial = 0;
    SetId from = 0;
    SetId to = 0;
    Lane lane = 0;
    bool add = false;
  };

  std::atomic<Set*>& slot(SetId set) const;  // of a set with memory of its own
  Set* get(SetId set) const { return slot(set).load(std::memory_order_acquire); }
  uint64_t serial(SetId set) const { return set < kMaxLanes ? 1 : get(set)->serial; }
  std::optional<SetId> change(SetId set, Lane lane, bool add);
  std::optional<SetId> intern(std::span<const Lane> lanes);
  std::optional<SetId> new_id();
  bool grow_table();
  void forget(SetId id);

  Budget* budget_;
  Readers* readers_;
  std::array<std::atomic<Chunk*>, kMaxChunks> chunks_{};
  uint32_t ids_ = 0;  // given out so far
  std::vector<SetId> free_ids_;
  std::vector<SetId> table_;  // by content; 0 = free
  size_t live_ = 0;
  uint64_t last_serial_ = 1;
  SetId unreferenced_ = 0;  // made by the last change, perhaps not counted
  std::vector<Lane> scratch_;
  std::vector<Step> steps_;
};

}  // namespace tweendeck::routing::kv

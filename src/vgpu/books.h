// One process's place in the usage page: its slot, and its books of device memory.
//
// A slice's total is the sum of its slots' books; there is no second figure that a kill between two stores
// could make drift. To reserve, a process first adds to its own pending word and then sums everybody's: of
// two that race, at least the later one sees both, so the limit is never passed. Who finds that only
// reservations in flight are in the way takes turns (the contender word, advice that anybody may overrule
// after kTurnNs), so none of the racers is refused while there is room. A dead process's books stop counting
// by one compare-and-swap on its slot.
//
// Safe from any thread after attach(). No call waits for another process longer than kContentionLimitNs.
#pragma once

#include <stdint.h>

#include "vgpu/page.h"
#include "vgpu/system.h"

namespace tweendeck::vgpu {

inline constexpr uint64_t kTurnNs = 2'000'000;
inline constexpr uint64_t kContentionLimitNs = 200'000'000;
inline constexpr uint64_t kContentionPauseNs = 50'000;
// Grants are counted in the shared page by so many at a time, once a thread has had some.
inline constexpr uint32_t kMostUncounted = 64;

enum class Grant { Granted, OverLimit, Contended };

class Books {
 public:
  constexpr explicit Books(const System& system) : system_(&system) {}

  // Takes a slot; frees what an earlier program image of this very process left. False: all slots are alive.
  bool attach(tw_vgpu_usage_page* page);
  // Gives the slot back, and with it everything it holds.
  void detach();
  // After fork: the slot belongs to the parent.
  void forget() { set_attached(false); }
  // Whether the slot's owner word is as attach() left it. A slot that was taken back although its owner lives
  // is its own again at the next reserve(), or if it is another's, nothing is granted.
  bool owns_slot() const { return tw_vgpu_load(&page_->slots[slot_].owner) == owner_; }
  bool attached() const { return __atomic_load_n(&attached_, __ATOMIC_ACQUIRE); }

  // `limit_bytes` 0 = none.
  Grant reserve(uint32_t device, uint64_t limit_bytes, uint64_t bytes, tw_vgpu_kind kind);
  void release(uint32_t device, uint64_t bytes, tw_vgpu_kind kind);

  // Frees the slots of dead processes; true when there was one.
  bool sweep();

  uint32_t slot() const { return slot_; }

 private:
  void set_attached(bool now) { __atomic_store_n(&attached_, now, __ATOMIC_RELEASE); }
  bool claim(uint32_t index);
  void raise_bound(uint32_t to);
  void lower_bound();
  bool rejoin();
  bool has_ended(uint32_t index, uint64_t owner) const;
  Grant reserve_slowly(uint32_t device, uint64_t limit_bytes, uint64_t bytes, tw_vgpu_kind kind);
  Grant reserve_beside_others(uint32_t device, uint64_t limit_bytes, uint64_t bytes);
  tw_vgpu_book& book(uint32_t device) { return page_->books[device][slot_]; }
  bool try_once(uint32_t device, uint64_t limit_bytes, uint64_t bytes, bool keep_pending, bool& conclusive);
  Grant take_turns(uint32_t device, uint64_t limit_bytes, uint64_t bytes);
  bool wait_as_contender(uint32_t device, uint64_t limit_bytes, uint64_t bytes, uint64_t id,
                         bool& conclusive);
  void note(tw_vgpu_book& mine, uint32_t device, uint64_t used_bytes, uint64_t bytes, tw_vgpu_kind kind);
  void use_device(uint32_t device);
  void count_grants(uint32_t device, tw_vgpu_kind kind);

  const System* system_;
  tw_vgpu_usage_page* page_ = nullptr;
  uint64_t owner_ = 0;
  uint64_t name_space_ = 0;
  uint32_t slot_ = 0;
  uint32_t used_devices_ = 0;  // those that the slot has down as used
  uint64_t turns_ = 0;
  bool attached_ = false;  // set last: other threads use the rest from then on
};

}  // namespace tweendeck::vgpu

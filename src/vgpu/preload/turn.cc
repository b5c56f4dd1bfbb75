#include "vgpu/preload/turn.h"

#include "vgpu/preload/tenant.h"

namespace tweendeck::vgpu {
namespace {

constexpr uint32_t kSlotShift = 48;
constexpr uint32_t kTimeShift = 10;  // about a microsecond
constexpr uint64_t kTimeMask = (uint64_t{1} << kSlotShift) - 1;

bool lapsed(const tw_vgpu_usage_page& page, uint64_t turn, uint64_t now_ns) {
  const uint64_t slot = (turn >> kSlotShift) - 1;
  if (slot >= TW_VGPU_MAX_SLOTS || tw_vgpu_load(&page.slots[slot].owner) == 0) return true;
  const uint64_t age = ((now_ns >> kTimeShift) - turn) & kTimeMask;
  return age > kLongestTurnNs >> kTimeShift;
}

}  // namespace

uint64_t take_turn(uint32_t device, uint64_t now_ns) {
  uint64_t* word = &usage()->devices[device].unlearned;
  uint64_t before = tw_vgpu_load(word);
  if (before != 0 && !lapsed(*usage(), before, now_ns)) return 0;
  const uint64_t turn = (uint64_t{books().slot()} + 1) << kSlotShift | ((now_ns >> kTimeShift) & kTimeMask);
  const bool taken =
      __atomic_compare_exchange_n(word, &before, turn, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
  return taken ? turn : 0;
}

bool peer_has_turn(uint32_t device, uint64_t now_ns) {
  const uint64_t turn = tw_vgpu_load(&usage()->devices[device].unlearned);
  return turn != 0 && (turn >> kSlotShift) - 1 != books().slot() && !lapsed(*usage(), turn, now_ns);
}

void end_turn(uint32_t device, uint64_t turn) {
  if (turn == 0) return;
  __atomic_compare_exchange_n(&usage()->devices[device].unlearned, &turn, uint64_t{0}, false,
                              __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

}  // namespace tweendeck::vgpu

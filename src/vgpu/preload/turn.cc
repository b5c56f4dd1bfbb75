#include "vgpu/preload/turn.h"

#include "vgpu/preload/tenant.h"

namespace tweendeck::vgpu {

uint64_t take_turn(uint32_t device, uint64_t now_ns) {
  uint64_t* word = &usage()->devices[device].unlearned;
  uint64_t before = tw_vgpu_load(word);
  if (tw_vgpu_turn_runs(usage(), before, now_ns)) return 0;
  const uint64_t turn = tw_vgpu_turn(books().slot(), now_ns);
  const bool taken =
      __atomic_compare_exchange_n(word, &before, turn, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
  return taken ? turn : 0;
}

bool peer_has_turn(uint32_t device, uint64_t now_ns) {
  const uint64_t turn = tw_vgpu_load(&usage()->devices[device].unlearned);
  return tw_vgpu_turn_slot(turn) != books().slot() && tw_vgpu_turn_runs(usage(), turn, now_ns);
}

void end_turn(uint32_t device, uint64_t turn) {
  if (turn == 0) return;
  __atomic_compare_exchange_n(&usage()->devices[device].unlearned, &turn, uint64_t{0}, false,
                              __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
}

}  // namespace tweendeck::vgpu

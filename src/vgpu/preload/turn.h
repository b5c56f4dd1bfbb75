// While a kernel's duration is not known, one such launch of the slice is in flight, of all its processes, and its peers
// launch nothing beside it.
//
// The turn is a word of the usage page that names the process's slot and when it was taken. It lapses when
// the process has ended and after TW_VGPU_TURN_MAX_NS: kernels may wait for each other, so nobody waits longer
// than that for one.
#pragma once

#include <stdint.h>

namespace tweendeck::vgpu {

// 0 = another launch has the turn.
uint64_t take_turn(uint32_t device, uint64_t now_ns);
// A peer's launch of unknown length is in flight: what is launched behind it may wait for any time.
bool peer_has_turn(uint32_t device, uint64_t now_ns);
void end_turn(uint32_t device, uint64_t turn);  // of take_turn; 0 does nothing

}  // namespace tweendeck::vgpu

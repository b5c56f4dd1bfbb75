// The token bucket of a slice on one device: a single word of the usage page, shared by all processes of the
// slice.
//
// The word is the time until which the slice's share is used up. Charging c ns of GPU time at p permille
// moves it by c * 1000 / p; a launch may go when it is not in the future. It never lags more than kBurstNs
// behind the clock, which is the credit that an idle slice keeps. One compare-and-swap per charge, no refill,
// nothing to repair after a kill.
#pragma once

#include <stdint.h>

#include "vgpu/page.h"

namespace tweendeck::vgpu {

inline constexpr uint64_t kBurstNs = 20'000'000;  // of wall time

// Nanoseconds until the next launch may go; 0 = now.
inline uint64_t bucket_wait_ns(const uint64_t* until_word, uint64_t now_ns) {
  const uint64_t until = tw_vgpu_load(until_word);
  return until > now_ns ? until - now_ns : 0;
}

// Negative `gpu_ns` gives back what was charged too much.
inline void bucket_charge(uint64_t* until_word, uint64_t now_ns, int64_t gpu_ns, uint32_t permille) {
  if (permille == 0 || permille >= TW_VGPU_WHOLE) permille = TW_VGPU_WHOLE;
  const int64_t wall = gpu_ns * static_cast<int64_t>(TW_VGPU_WHOLE) / static_cast<int64_t>(permille);
  const uint64_t floor = now_ns > kBurstNs ? now_ns - kBurstNs : 0;
  uint64_t until = tw_vgpu_load(until_word);
  while (true) {
    const uint64_t from = until > floor ? until : floor;
    uint64_t next = from + static_cast<uint64_t>(wall);
    if (wall < 0 && (from < static_cast<uint64_t>(-wall) || next < floor)) next = floor;
    if (__atomic_compare_exchange_n(until_word, &until, next, true, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
      return;
  }
}

}  // namespace tweendeck::vgpu

// The token bucket of a slice on one device: a single word of the usage page, shared by all processes of the
// slice.
//
// The word is the time until which the slice's share is used up. Charging c ns of GPU time at p permille
// moves it by c * 1000 / p; a launch may go when it is not in the future. It never lags the clock by more
// than the credit that its caller allows (kBurstNs, what an idle slice keeps). One compare-and-swap per
// charge, no refill, nothing to repair after a kill. Of several that find it free, one gets it: a slice is
// never in debt by more than one unit of work.
#pragma once

#include <stdint.h>

#include "vgpu/page.h"

namespace tweendeck::vgpu {

inline constexpr uint64_t kBurstNs = TW_VGPU_BURST_NS;

// Nanoseconds until the next launch may go; 0 = now.
inline uint64_t bucket_wait_ns(const uint64_t* until_word, uint64_t now_ns) {
  const uint64_t until = tw_vgpu_load(until_word);
  return until > now_ns ? until - now_ns : 0;
}

inline uint64_t bucket_wall_ns(uint64_t gpu_ns, uint32_t permille) {
  return gpu_ns * TW_VGPU_WHOLE / permille;
}

inline uint32_t bucket_permille(uint32_t permille) {
  return permille == 0 || permille > TW_VGPU_WHOLE ? uint32_t{TW_VGPU_WHOLE} : permille;
}

struct BucketGrant {
  bool granted = false;
  uint64_t gpu_ns = 0;
};

// Takes GPU time if the share is not used up: as much as there is credit for, at least `least_ns` (which may
// bring the bucket into debt), at most `most_ns`.
inline BucketGrant bucket_take(uint64_t* until_word, uint64_t now_ns, uint64_t credit_ns, uint64_t least_ns,
                               uint64_t most_ns, uint32_t permille) {
  permille = bucket_permille(permille);
  const uint64_t floor = now_ns > credit_ns ? now_ns - credit_ns : 0;
  uint64_t until = tw_vgpu_load(until_word);
  while (true) {
    const uint64_t from = until > floor ? until : floor;
    if (from > now_ns) return {};
    uint64_t gpu_ns = (now_ns - from) * permille / TW_VGPU_WHOLE;
    if (gpu_ns > most_ns) gpu_ns = most_ns;
    if (gpu_ns < least_ns) gpu_ns = least_ns;
    if (__atomic_compare_exchange_n(until_word, &until, from + bucket_wall_ns(gpu_ns, permille), true,
                                    __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
      return {true, gpu_ns};
  }
}

// Corrects what was taken; negative gives back.
inline void bucket_charge(uint64_t* until_word, uint64_t now_ns, uint64_t credit_ns, int64_t gpu_ns,
                          uint32_t permille) {
  permille = bucket_permille(permille);
  const uint64_t wall = bucket_wall_ns(static_cast<uint64_t>(gpu_ns < 0 ? -gpu_ns : gpu_ns), permille);
  const uint64_t floor = now_ns > credit_ns ? now_ns - credit_ns : 0;
  uint64_t until = tw_vgpu_load(until_word);
  while (true) {
    const uint64_t from = until > floor ? until : floor;
    uint64_t next = gpu_ns < 0 ? (from > wall ? from - wall : 0) : from + wall;
    if (next < floor) next = floor;
    if (__atomic_compare_exchange_n(until_word, &until, next, true, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
      return;
  }
}

// A debt is owed in GPU time: when the share changes, the wait that is left changes with it. A process that
// is killed between the two words leaves a wait of the old length, once.
inline void bucket_rescale(uint64_t* until_word, uint64_t* share_word, uint64_t now_ns, uint32_t permille) {
  permille = bucket_permille(permille);
  uint64_t before = tw_vgpu_load(share_word);
  if (before == permille) return;
  if (!__atomic_compare_exchange_n(share_word, &before, uint64_t{permille}, false, __ATOMIC_SEQ_CST,
                                   __ATOMIC_SEQ_CST))
    return;
  if (before == 0 || before > TW_VGPU_WHOLE) return;
  uint64_t until = tw_vgpu_load(until_word);
  while (until > now_ns) {
    const uint64_t next = now_ns + (until - now_ns) * before / permille;
    if (__atomic_compare_exchange_n(until_word, &until, next, true, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
      return;
  }
}

}  // namespace tweendeck::vgpu

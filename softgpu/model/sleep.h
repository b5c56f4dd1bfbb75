// Waiting in wall time and on shared words. Safe from any thread.
#pragma once

#include <cstdint>

#include "softgpu/model/layout.h"

namespace tweendeck::softgpu {

// Sleeps until CLOCK_MONOTONIC reaches `until_ns`, but at most `limit_ns`. True when `until_ns` is reached.
// The last kSpinNs are spent yielding, because a timer wakes tens of microseconds late.
inline constexpr uint64_t kSpinNs = 60'000;
bool sleep_real(uint64_t until_ns, uint64_t limit_ns);

// The word's low half as a futex that is shared between processes. Wakes spuriously.
void futex_wait(const Word& word, uint32_t expected, uint64_t timeout_ns);
void futex_wake_all(const Word& word);

}  // namespace tweendeck::softgpu

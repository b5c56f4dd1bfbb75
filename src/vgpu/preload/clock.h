// The clock that shares of GPU time are reckoned in, and sleeping on it.
//
// On real GPUs it is CLOCK_MONOTONIC. A software GPU has a clock of its own, which may be virtual: then the
// whole controller runs in that, so that its tests are exact and take no time. Safe from any thread, after
// cuInit.
#pragma once

#include <stdint.h>

namespace tweendeck::vgpu {

uint64_t device_now_ns();
void device_sleep_ns(uint64_t ns);

}  // namespace tweendeck::vgpu

// Memory of a context that its limits ask for: the stack of every thread that the device can hold, printf's
// buffer, and the heap of device code's malloc. The driver takes it at some later launch, so it is charged when
// the limit is raised. Safe from any thread, inside a slice only.
#pragma once

#include <stdint.h>

namespace tweendeck::vgpu {

// The context is gone; its charges end with those of its handle.
void heaps_gone(uint64_t context);
// After fork.
void forget_heaps();

}  // namespace tweendeck::vgpu

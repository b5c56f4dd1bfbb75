// Memory of cuMemCreate that is mapped to parts of arrays: it stays charged, though its handle is released,
// until the part is unmapped, mapped anew, or its array is gone. Safe from any thread, inside a slice only.
#pragma once

#include <stdint.h>

#include "vgpu/preload/abi.h"
#include "vgpu/preload/lock.h"

namespace tweendeck::vgpu {

// Around the end of an array, so that nothing is mapped to another of the same handle meanwhile.
TW_HIDDEN extern Lock g_tiles_lock;
void tiles_of_array_gone(const void* array);  // under the lock
void tiles_of_context_gone(uint64_t context);
// After fork.
void forget_tiles();

}  // namespace tweendeck::vgpu

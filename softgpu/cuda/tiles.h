// Memory of cuMemCreate mapped to parts of arrays. A mapped part keeps its memory until it is unmapped or its
// array goes. Safe from any thread.
#pragma once

#include "softgpu/cuda/abi_memory.h"

namespace tweendeck::softgpu {

void unmap_tiles(const void* array);

// vmm.cc: one more mapping of the handle's memory, and its end. False: no such handle.
bool hold_created(CUmemGenericAllocationHandle handle);
void drop_created(CUmemGenericAllocationHandle handle);

}  // namespace tweendeck::softgpu

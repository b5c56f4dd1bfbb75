// Stream-ordered memory: a pool is charged what it holds of the device, not what the program has taken from
// it. Safe from any thread, inside a slice only.
#pragma once

#include <stdint.h>

#include "vgpu/preload/abi.h"
#include "vgpu/preload/charge.h"

namespace tweendeck::vgpu {

// Gives back what pools of the device hold and nobody uses. True when that was anything.
bool trim_pools(int device);
// Work of the device has come to an end: pools may have given memory back.
void settle_pools();
// The device's primary context is gone, and all memory of pools with it.
void pools_emptied(int device);
// After fork: the parent's pools are not the child's.
void forget_pools();

TW_HIDDEN extern uint32_t g_pools_seen;  // 1 = the process has pools, or had some
// Before memory at the address may be freed: the number of the pool that it is of, or 0. After: whether it was.
uint64_t forget_piece(CUdeviceptr address);
void piece_freed(CUdeviceptr address, uint64_t number, bool freed);

// `ask` frees memory of whatever kind: cuMemFree takes a pool's, and cuMemFreeAsync that of cuMemAlloc.
template <class Ask>
CUresult free_memory(CUdeviceptr address, Ask ask) {
  if (__builtin_expect(__atomic_load_n(&g_pools_seen, __ATOMIC_RELAXED) == 0, 1))
    return give_back(address, ask);
  const uint64_t number = forget_piece(address);
  const CUresult result = give_back(address, ask);
  piece_freed(address, number, result == CUDA_SUCCESS);
  return result;
}

}  // namespace tweendeck::vgpu

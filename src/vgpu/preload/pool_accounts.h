// The pools of this process and what each is charged: what it holds of the device. A pool that was destroyed
// while memory of it is in use stays charged until the last of that is freed, as the driver keeps it.
//
// All but free functions of pools.h are called under `g_pools_lock`.
#pragma once

#include <stdint.h>

#include "vgpu/preload/abi.h"
#include "vgpu/preload/lock.h"

namespace tweendeck::vgpu {

inline constexpr uint32_t kMaxPools = 64;  // of one process; memory of one more is refused

struct Pool {
  CUmemoryPool handle;
  int device;  // index in the pages
  uint64_t charged;
  uint64_t number;  // of the program's own pools; 0: one that cannot be destroyed
  uint64_t pieces;  // allocations of an own pool that are in use
};

TW_HIDDEN extern Lock g_pools_lock;

Pool* find_pool(CUmemoryPool handle);
enum class Maker : uint8_t { Program, Driver };
bool add_pool(CUmemoryPool handle, int device, Maker maker);

// What a pool holds and nobody uses. Needs no lock.
uint64_t slack_of(CUmemoryPool pool);

// Makes the charge what the pool holds now. `ahead` is in the books already, for memory that the pool may
// have taken. False: it holds more than the slice has room for.
bool settle_pool(Pool& pool, uint64_t ahead);
// Gives back what nobody uses.
void trim_pool(Pool& pool);

// The program has got an allocation of the pool.
void piece_taken(Pool& pool, CUdeviceptr address);
// The pool is destroyed; it was trimmed before.
void pool_destroyed(Pool& pool);

}  // namespace tweendeck::vgpu

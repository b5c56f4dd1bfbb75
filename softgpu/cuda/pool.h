// Memory pools: the device memory that a pool holds is charged to the card; what is allocated from it is a
// part of that. Freed memory stays with the pool up to its release threshold and goes back at once beyond it.
//
// Stream order: an allocation is usable, and freed memory free, at the call, whatever its stream is doing.
// Safe from any thread.
#pragma once

#include <memory>
#include <mutex>

#include "softgpu/cuda/abi_memory.h"

namespace tweendeck::softgpu {

struct Stream;

struct Pool {
  std::mutex mutex;
  int device = 0;
  bool is_default = false;
  bool is_destroyed = false;  // goes when nothing of it is allocated any more
  int handle_types = 0;
  uint64_t max_bytes = 0;  // 0 = the card's
  uint64_t threshold = 0;
  uint64_t used = 0;
  uint64_t used_high = 0;
  uint64_t reserved = 0;
  uint64_t reserved_high = 0;
  uint64_t flags[3] = {1, 1, 1};  // reuse policies: kept, without effect
};

Pool* default_pool(int device);
Pool* current_pool(int device);
Pool* find_pool(CUmemoryPool handle);  // nullptr: no such handle
inline CUmemoryPool handle_of(Pool* pool) {
  return reinterpret_cast<CUmemoryPool>(pool);
}

CUresult allocate_from(Pool& pool, size_t bytes, CUdeviceptr* out);
void free_to(Pool& pool, CUdeviceptr address);
// The device's primary context goes: so does everything that was allocated from its pools.
void empty_pools(int device);

}  // namespace tweendeck::softgpu

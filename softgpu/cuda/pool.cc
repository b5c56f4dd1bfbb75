#include "softgpu/cuda/pool.h"

#include <algorithm>
#include <map>
#include <unordered_map>

#include "softgpu/cuda/api.h"
#include "softgpu/cuda/driver.h"

using namespace tweendeck::softgpu;

namespace tweendeck::softgpu {
namespace {

struct Pools {
  std::mutex mutex;
  std::unordered_map<const void*, std::unique_ptr<Pool>> all;
  std::map<int, Pool*> defaults;
  std::map<int, Pool*> current;  // where it is not the default
};

Pools& pools() {
  static auto* all = new Pools;  // never destroyed: other threads may be in a call at exit
  return *all;
}

uint32_t card_of(const Pool& pool) {
  return Driver::get()->device(pool.device)->card;
}

// Gives back what the pool holds beyond `keep` and beyond what is in use. The pool is locked.
void shrink(Pool& pool, uint64_t keep) {
  keep = std::max(keep, pool.used);
  if (pool.reserved <= keep) return;
  Driver::get()->client().release(card_of(pool), pool.reserved - keep);
  pool.reserved = keep;
}

}  // namespace

Pool* default_pool(int device) {
  Pools& all = pools();
  std::lock_guard guard(all.mutex);
  Pool*& pool = all.defaults[device];
  if (pool != nullptr) return pool;
  auto made = std::make_unique<Pool>();
  made->device = device;
  made->is_default = true;
  pool = made.get();
  all.all.emplace(pool, std::move(made));
  return pool;
}

Pool* current_pool(int device) {
  {
    std::lock_guard guard(pools().mutex);
    const auto found = pools().current.find(device);
    if (found != pools().current.end()) return found->second;
  }
  return default_pool(device);
}

Pool* find_pool(CUmemoryPool handle) {
  std::lock_guard guard(pools().mutex);
  const auto found = pools().all.find(handle);
  return found == pools().all.end() || found->second->is_destroyed ? nullptr : found->second.get();
}

CUresult allocate_from(Pool& pool, size_t bytes, CUdeviceptr* out) {
  Driver& driver = *Driver::get();
  if (bytes > driver.info(pool.device).memory_bytes) return CUDA_ERROR_OUT_OF_MEMORY;
  DeviceMemory* memory = driver.memory_of(pool.device);
  if (memory == nullptr) return CUDA_ERROR_OUT_OF_MEMORY;
  const uint64_t charge = DeviceMemory::charge_for(bytes);
  std::lock_guard guard(pool.mutex);
  const uint64_t used = pool.used + charge;
  if (pool.max_bytes != 0 && used > pool.max_bytes) return CUDA_ERROR_OUT_OF_MEMORY;
  if (used > pool.reserved) {
    if (!driver.client().reserve(card_of(pool), used - pool.reserved)) return CUDA_ERROR_OUT_OF_MEMORY;
    pool.reserved = used;
  }
  pool.used = used;
  *out = memory->allocate(bytes, {MemoryKind::Pooled, nullptr, &pool, nullptr});
  if (*out == 0) {
    pool.used -= charge;
    shrink(pool, pool.threshold);
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  pool.used_high = std::max(pool.used_high, pool.used);
  pool.reserved_high = std::max(pool.reserved_high, pool.reserved);
  return CUDA_SUCCESS;
}

void free_to(Pool& pool, CUdeviceptr address) {
  bool is_over = false;
  {
    std::lock_guard guard(pool.mutex);
    const auto freed = Driver::get()->memory_of(pool.device)->free(address);
    if (!freed) return;  // another thread was faster
    pool.used -= freed->charged;
    shrink(pool, pool.is_destroyed ? 0 : pool.threshold);
    is_over = pool.is_destroyed && pool.used == 0;
  }
  if (!is_over) return;
  std::lock_guard guard(pools().mutex);
  pools().all.erase(&pool);
}

void empty_pools(int device) {
  DeviceMemory* memory = Driver::get()->memory_of(device);
  for (const auto& range : memory->of_context(nullptr)) {
    if (range.owner.kind == MemoryKind::Pooled) free_to(*range.owner.pool, range.address);
  }
  std::lock_guard guard(pools().mutex);
  for (const auto& [handle, pool] : pools().all) {
    std::lock_guard pool_guard(pool->mutex);
    if (pool->device == device) shrink(*pool, 0);
  }
}

}  // namespace tweendeck::softgpu

namespace {

enum PoolAttribute : int {  // CUmemPool_attribute
  kReuseFollowEvents = 1,
  kReuseInternal = 3,
  kReleaseThreshold = 4,
  kReservedCurrent = 5,
  kReservedHigh = 6,
  kUsedCurrent = 7,
  kUsedHigh = 8,
};

CUresult with(CUmemoryPool handle, auto use) {
  TW_DRIVER(driver);
  Pool* pool = find_pool(handle);
  if (pool == nullptr) return CUDA_ERROR_INVALID_VALUE;
  std::lock_guard guard(pool->mutex);
  return use(*pool);
}

CUresult resolve_device(const CUmemLocation* location, int type, int& device) {
  TW_DRIVER(driver);
  if (location == nullptr || type != kAllocationPinned) return CUDA_ERROR_INVALID_VALUE;
  if (location->type != kLocationDevice) return CUDA_ERROR_NOT_SUPPORTED;  // pools of host memory
  device = location->id;
  return driver->device(device) == nullptr ? CUDA_ERROR_INVALID_DEVICE : CUDA_SUCCESS;
}

CUresult set_current(int device, CUmemoryPool handle) {
  Pool* pool = find_pool(handle);
  if (pool == nullptr || pool->device != device) return CUDA_ERROR_INVALID_VALUE;
  std::lock_guard guard(pools().mutex);
  pools().current[device] = pool;
  return CUDA_SUCCESS;
}

}  // namespace

CUresult cuDeviceGetDefaultMemPool(CUmemoryPool* out, CUdevice device) {
  TW_DRIVER(driver);
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (driver->device(device) == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  *out = handle_of(default_pool(device));
  return CUDA_SUCCESS;
}
CUresult cuDeviceGetMemPool(CUmemoryPool* out, CUdevice device) {
  TW_DRIVER(driver);
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (driver->device(device) == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  *out = handle_of(current_pool(device));
  return CUDA_SUCCESS;
}
CUresult cuDeviceSetMemPool(CUdevice device, CUmemoryPool pool) {
  TW_DRIVER(driver);
  return set_current(device, pool);
}
CUresult cuMemGetDefaultMemPool(CUmemoryPool* out, CUmemLocation* location, int type) {
  int device = 0;
  if (CUresult error = resolve_device(location, type, device); error != CUDA_SUCCESS) return error;
  return cuDeviceGetDefaultMemPool(out, device);
}
CUresult cuMemGetMemPool(CUmemoryPool* out, CUmemLocation* location, int type) {
  int device = 0;
  if (CUresult error = resolve_device(location, type, device); error != CUDA_SUCCESS) return error;
  return cuDeviceGetMemPool(out, device);
}
CUresult cuMemSetMemPool(CUmemLocation* location, int type, CUmemoryPool pool) {
  int device = 0;
  if (CUresult error = resolve_device(location, type, device); error != CUDA_SUCCESS) return error;
  return set_current(device, pool);
}

CUresult cuMemPoolCreate(CUmemoryPool* out, const CUmemPoolProps* props) {
  int device = 0;
  if (out == nullptr || props == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (CUresult error = resolve_device(&props->location, props->allocation_type, device);
      error != CUDA_SUCCESS) {
    return error;
  }
  if (props->handle_types != kHandleNone) return CUDA_ERROR_NOT_SUPPORTED;  // pools of other processes
  auto pool = std::make_unique<Pool>();
  pool->device = device;
  pool->max_bytes = props->max_bytes;
  *out = handle_of(pool.get());
  std::lock_guard guard(pools().mutex);
  pools().all.emplace(pool.get(), std::move(pool));
  return CUDA_SUCCESS;
}

CUresult cuMemPoolDestroy(CUmemoryPool handle) {
  TW_DRIVER(driver);
  Pool* pool = find_pool(handle);
  if (pool == nullptr || pool->is_default) return CUDA_ERROR_INVALID_VALUE;
  std::lock_guard guard(pools().mutex);
  std::erase_if(pools().current, [&](const auto& entry) { return entry.second == pool; });
  bool is_over = false;
  {
    std::lock_guard pool_guard(pool->mutex);
    pool->is_destroyed = true;
    shrink(*pool, 0);
    is_over = pool->used == 0;
  }
  if (is_over) pools().all.erase(handle);
  return CUDA_SUCCESS;
}

CUresult cuMemPoolTrimTo(CUmemoryPool handle, size_t keep) {
  return with(handle, [&](Pool& pool) {
    shrink(pool, keep);
    return CUDA_SUCCESS;
  });
}

CUresult cuMemPoolGetAttribute(CUmemoryPool handle, int attribute, void* value) {
  if (value == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return with(handle, [&](const Pool& pool) {
    if (attribute >= kReuseFollowEvents && attribute <= kReuseInternal) {
      *static_cast<int*>(value) = static_cast<int>(pool.flags[attribute - kReuseFollowEvents]);
      return CUDA_SUCCESS;
    }
    if (attribute < kReleaseThreshold || attribute > kUsedHigh) return CUDA_ERROR_INVALID_VALUE;
    const uint64_t values[] = {pool.threshold, pool.reserved, pool.reserved_high, pool.used, pool.used_high};
    *static_cast<uint64_t*>(value) = values[attribute - kReleaseThreshold];
    return CUDA_SUCCESS;
  });
}

CUresult cuMemPoolSetAttribute(CUmemoryPool handle, int attribute, void* value) {
  if (value == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return with(handle, [&](Pool& pool) {
    if (attribute >= kReuseFollowEvents && attribute <= kReuseInternal) {
      pool.flags[attribute - kReuseFollowEvents] = static_cast<uint64_t>(*static_cast<int*>(value));
      return CUDA_SUCCESS;
    }
    const uint64_t number = *static_cast<uint64_t*>(value);
    if (attribute == kReleaseThreshold) {
      pool.threshold = number;
      shrink(pool, pool.threshold);
      return CUDA_SUCCESS;
    }
    // High-water marks can be reset, to nothing but 0.
    if (number != 0 || (attribute != kReservedHigh && attribute != kUsedHigh))
      return CUDA_ERROR_INVALID_VALUE;
    (attribute == kReservedHigh ? pool.reserved_high : pool.used_high) =
        attribute == kReservedHigh ? pool.reserved : pool.used;
    return CUDA_SUCCESS;
  });
}

// Every card reaches every other one's memory.
CUresult cuMemPoolSetAccess(CUmemoryPool handle, const CUmemAccessDesc* access, size_t count) {
  if (access == nullptr && count > 0) return CUDA_ERROR_INVALID_VALUE;
  return with(handle, [&](const Pool& pool) {
    for (size_t i = 0; i < count; ++i) {
      if (access[i].location.type != kLocationDevice) return CUDA_ERROR_INVALID_VALUE;
      if (Driver::get()->device(access[i].location.id) == nullptr) return CUDA_ERROR_INVALID_DEVICE;
      if (access[i].location.id == pool.device && access[i].flags != kAccessReadWrite) {
        return CUDA_ERROR_INVALID_VALUE;
      }
    }
    return CUDA_SUCCESS;
  });
}
CUresult cuMemPoolGetAccess(int* flags, CUmemoryPool handle, CUmemLocation* location) {
  if (flags == nullptr || location == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return with(handle, [&](const Pool&) {
    *flags = kAccessReadWrite;
    return CUDA_SUCCESS;
  });
}

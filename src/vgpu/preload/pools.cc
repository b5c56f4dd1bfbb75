#include "vgpu/preload/pools.h"

#include "vgpu/preload/abi.h"
#include "vgpu/preload/calls.h"
#include "vgpu/preload/charge.h"
#include "vgpu/preload/lock.h"
#include "vgpu/preload/tenant.h"
#include "vgpu/preload/throttle.h"

namespace tweendeck::vgpu {
namespace {

constexpr uint32_t kMaxPools = 64;  // of one process; memory of one more is refused
constexpr int kMaxDevices = 64;

enum PoolAttribute : int { kReservedNow = 5, kUsedNow = 7 };

struct Pool {
  CUmemoryPool handle;
  int device;  // index in the pages
  uint64_t charged;
};

Lock g_lock;
Pool g_pools[kMaxPools];
uint32_t g_count;
uint32_t
    g_slack;  // 1 = some pool holds memory that nobody uses, so it may give it back at any synchronisation

constexpr uint64_t kUntold = UINT64_MAX;

uint64_t attribute(CUmemoryPool pool, PoolAttribute which) {
  static auto* const get = driver<CUresult(CUmemoryPool, int, void*)>("cuMemPoolGetAttribute");
  uint64_t value = 0;
  return get && get(pool, which, &value) == CUDA_SUCCESS ? value : kUntold;
}

// What a pool holds and nobody uses.
uint64_t slack_of(CUmemoryPool pool) {
  const uint64_t holds = attribute(pool, kReservedNow), used = attribute(pool, kUsedNow);
  return holds == kUntold || used >= holds ? 0 : holds - used;
}

// Makes the charge what the pool holds now. `ahead` is in the books already, for memory that the pool may
// have taken. False: it holds more than the slice has room for.
bool settle(Pool& pool, uint64_t ahead) {
  if (pool.device < 0) return true;
  const uint64_t have = pool.charged + ahead;
  uint64_t holds = attribute(pool.handle, kReservedNow);
  if (holds == kUntold) holds = have;
  pool.charged = holds;
  if (slack_of(pool.handle)) __atomic_store_n(&g_slack, 1, __ATOMIC_RELAXED);
  if (holds <= have) {
    if (holds < have) unreserve(pool.device, have - holds, TW_VGPU_KIND_POOL);
    return true;
  }
  const auto index = static_cast<uint32_t>(pool.device);
  const uint64_t limit = memory_limit(index);
  if (books().reserve(index, limit, holds - have, TW_VGPU_KIND_POOL) == Grant::Granted) return true;
  charge_anyway(pool.device, holds - have, TW_VGPU_KIND_POOL);
  return false;
}

void trim(Pool& pool) {
  static auto* const trim_to = driver<CUresult(CUmemoryPool, size_t)>("cuMemPoolTrimTo");
  if (trim_to) trim_to(pool.handle, 0);
  settle(pool, 0);
}

Pool* find(CUmemoryPool handle) {
  for (uint32_t i = 0; i < g_count; ++i) {
    if (g_pools[i].handle == handle) return &g_pools[i];
  }
  return nullptr;
}

bool add(CUmemoryPool handle, int device) {
  if (Pool* known = find(handle)) {
    known->device = device;
    return true;
  }
  if (g_count == kMaxPools) return false;
  g_pools[g_count++] = {handle, device, 0};
  return true;
}

// A pool that was not made here is the default pool of a device, or imported; the exporter pays for those.
CUdevice device_of_default(CUmemoryPool handle) {
  static auto* const get = driver<CUresult(CUmemoryPool*, CUdevice)>("cuDeviceGetDefaultMemPool");
  for (CUdevice device = 0; get && device < kMaxDevices; ++device) {
    CUmemoryPool pool = nullptr;
    if (get(&pool, device) != CUDA_SUCCESS) break;
    if (pool == handle) return device;
  }
  return -1;
}

bool is_capturing(CUstream stream) {
  static auto* const ask = driver<CUresult(CUstream, int*)>("cuStreamIsCapturing");
  int capturing = 0;
  return ask && ask(stream, &capturing) == CUDA_SUCCESS && capturing != 0;
}

CUmemoryPool current_pool(CUstream stream) {
  static auto* const device_of = driver<CUresult(CUstream, CUdevice*)>("cuStreamGetDevice");
  static auto* const current = driver<CUresult(CUdevice*)>("cuCtxGetDevice");
  static auto* const pool_of = driver<CUresult(CUmemoryPool*, CUdevice)>("cuDeviceGetMemPool");
  CUdevice device = 0;
  CUmemoryPool pool = nullptr;
  const bool found = (device_of && device_of(stream, &device) == CUDA_SUCCESS) ||
                     (current && current(&device) == CUDA_SUCCESS);
  return found && pool_of && pool_of(&pool, device) == CUDA_SUCCESS ? pool : nullptr;
}

// Knows the pool from now on; kNoDevice = its memory is not the slice's to pay.
bool look_up(CUmemoryPool handle, int& device) {
  const Locked locked(g_lock);
  if (const Pool* pool = find(handle)) {
    device = pool->device;
    return true;
  }
  const CUdevice owner = device_of_default(handle);
  device = owner < 0 ? kNoDevice : page_device(owner);
  return device == kNoDevice || add(handle, device);
}

// Only what the pool must take from the device is reserved ahead; what it holds and nobody uses is paid for.
CUresult allocate_from(CUmemoryPool handle, uint64_t bytes, CUdeviceptr* out, CUstream stream, auto ask) {
  int device = kNoDevice;
  if (!look_up(handle, device)) {
    count_refusal(0, TW_VGPU_REFUSED_CALL);
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  if (for_the_driver(device, bytes)) return ask();
  const uint64_t wanted = in_granules(bytes), slack = slack_of(handle);
  const uint64_t ahead = wanted > slack ? wanted - slack : 0;
  if (ahead || device < 0) {
    const CUresult granted = reserve(device, ahead, TW_VGPU_KIND_POOL);
    if (granted != CUDA_SUCCESS) return granted;
  }
  const Locked locked(g_lock);
  const CUresult result = ask();
  Pool* pool = find(handle);
  if (!pool || settle(*pool, ahead) || result != CUDA_SUCCESS) return result;
  // The pool took more at once than was asked of it, and more than there is room for.
  static auto* const free_async = driver<CUresult(CUdeviceptr, CUstream)>("cuMemFreeAsync");
  if (free_async) free_async(*out, stream);
  *out = 0;
  trim(*pool);
  count_refusal(device, TW_VGPU_REFUSED_LIMIT);
  return CUDA_ERROR_OUT_OF_MEMORY;
}

// Memory of a capturing stream is the graph's.
CUresult on_cuMemAllocAsync(auto* ask, Form form, CUdeviceptr* out, size_t bytes, CUstream stream) {
  const CUstream on = plain_stream(stream, form);
  const auto call = [&] { return ask(out, bytes, stream); };
  const CUmemoryPool pool = out && !is_capturing(on) ? current_pool(on) : nullptr;
  return pool ? allocate_from(pool, bytes, out, on, call) : call();
}

CUresult on_cuMemAllocFromPoolAsync(auto* ask, Form form, CUdeviceptr* out, size_t bytes, CUmemoryPool pool,
                                    CUstream stream) {
  const CUstream on = plain_stream(stream, form);
  const auto call = [&] { return ask(out, bytes, pool, stream); };
  return out && pool && !is_capturing(on) ? allocate_from(pool, bytes, out, on, call) : call();
}

CUresult on_cuMemFreeAsync(auto* ask, Form, CUdeviceptr address, CUstream stream) {
  // Memory of cuMemAlloc may be freed here too.
  const CUresult result = give_back(address, [&] { return ask(address, stream); });
  if (result == CUDA_SUCCESS) pool_memory_freed();
  return result;
}

CUresult on_cuMemPoolCreate(auto* ask, CUmemoryPool* out, const CUmemPoolProps* properties) {
  const CUresult result = ask(out, properties);
  if (result != CUDA_SUCCESS) return result;
  const bool ours = properties->location_type == kLocationDevice;
  const Locked locked(g_lock);
  if (!add(*out, ours ? page_device(properties->location_id) : kNoDevice)) {
    static auto* const destroy = driver<CUresult(CUmemoryPool)>("cuMemPoolDestroy");
    if (destroy) destroy(*out);
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  return CUDA_SUCCESS;
}

// What is still in use stays charged: the driver gives it back when the last of it is freed, and does not
// tell.
CUresult on_cuMemPoolDestroy(auto* ask, CUmemoryPool handle) {
  const Locked locked(g_lock);
  Pool* pool = find(handle);
  const uint64_t used = pool ? attribute(handle, kUsedNow) : 0;
  const CUresult result = ask(handle);
  if (result != CUDA_SUCCESS || !pool) return result;
  if (used < pool->charged) unreserve(pool->device, pool->charged - used, TW_VGPU_KIND_POOL);
  *pool = g_pools[--g_count];
  return result;
}

CUresult on_cuMemPoolTrimTo(auto* ask, CUmemoryPool handle, size_t keep) {
  const Locked locked(g_lock);
  const CUresult result = ask(handle, keep);
  if (Pool* pool = find(handle)) settle(*pool, 0);
  return result;
}

template <class Ask>
CUresult synchronize(Ask ask) {
  const CUresult result = ask();
  settle_finished();
  settle_pools();
  return result;
}

CUresult on_cuStreamSynchronize(auto* ask, Form, CUstream stream) {
  return synchronize([&] { return ask(stream); });
}
CUresult on_cuEventSynchronize(auto* ask, CUevent event) {
  return synchronize([&] { return ask(event); });
}
CUresult on_cuCtxSynchronize(auto* ask) {
  return synchronize([&] { return ask(); });
}
CUresult on_cuCtxSynchronize_v2(auto* ask, CUcontext context) {
  return synchronize([&] { return ask(context); });
}

}  // namespace

bool trim_pools(int device) {
  if (__atomic_load_n(&g_count, __ATOMIC_RELAXED) == 0) return false;
  const Locked locked(g_lock);
  bool gave = false;
  for (uint32_t i = 0; i < g_count; ++i) {
    const uint64_t before = g_pools[i].charged;
    if (g_pools[i].device != device) continue;
    trim(g_pools[i]);
    gave |= g_pools[i].charged < before;
  }
  return gave;
}

void settle_pools() {
  if (__atomic_load_n(&g_slack, __ATOMIC_RELAXED) == 0) return;
  const Locked locked(g_lock);
  __atomic_store_n(&g_slack, 0, __ATOMIC_RELAXED);
  for (uint32_t i = 0; i < g_count; ++i) {
    settle(g_pools[i], 0);
  }
}

void pool_memory_freed() {
  if (__atomic_load_n(&g_count, __ATOMIC_RELAXED) == 0) return;
  __atomic_store_n(&g_slack, 1, __ATOMIC_RELAXED);
  settle_pools();
}

void forget_pools() {
  g_lock = {};
  g_count = 0;
  g_slack = 0;
}

}  // namespace tweendeck::vgpu

using namespace tweendeck::vgpu;
#include "wrappers_pools.inc"

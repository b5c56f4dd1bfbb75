// Stream-ordered memory: what is asked of pools, and what ends their work.
#include "vgpu/preload/pools.h"

#include "vgpu/preload/abi.h"
#include "vgpu/preload/calls.h"
#include "vgpu/preload/charge.h"
#include "vgpu/preload/pool_accounts.h"
#include "vgpu/preload/tenant.h"
#include "vgpu/preload/throttle.h"

using namespace tweendeck::vgpu;

namespace {

constexpr int kMaxDevices = 64;

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
  const Locked locked(g_pools_lock);
  if (const Pool* pool = find_pool(handle)) {
    device = pool->device;
    return true;
  }
  const CUdevice owner = device_of_default(handle);
  device = owner < 0 ? kNoDevice : page_device(owner);
  return device == kNoDevice || add_pool(handle, device, Maker::Driver);
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
  const Locked locked(g_pools_lock);
  const CUresult result = ask();
  Pool* pool = find_pool(handle);
  if (!pool) {  // another thread has destroyed it
    if (ahead) unreserve(device, ahead, TW_VGPU_KIND_POOL);
    return result;
  }
  if (settle_pool(*pool, ahead) || result != CUDA_SUCCESS) {
    if (result == CUDA_SUCCESS) piece_taken(*pool, *out);
    return result;
  }
  // The pool took more at once than was asked of it, and more than there is room for.
  static auto* const free_async = driver<CUresult(CUdeviceptr, CUstream)>("cuMemFreeAsync");
  if (free_async) free_async(*out, stream);
  *out = 0;
  trim_pool(*pool);
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
  return free_memory(address, [&] { return ask(address, stream); });
}

CUresult on_cuMemPoolCreate(auto* ask, CUmemoryPool* out, const CUmemPoolProps* properties) {
  const CUresult result = ask(out, properties);
  if (result != CUDA_SUCCESS) return result;
  const bool ours = properties->location_type == kLocationDevice;
  const Locked locked(g_pools_lock);
  if (!add_pool(*out, ours ? page_device(properties->location_id) : kNoDevice, Maker::Program)) {
    static auto* const destroy = driver<CUresult(CUmemoryPool)>("cuMemPoolDestroy");
    if (destroy) destroy(*out);
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  return CUDA_SUCCESS;
}

// The driver keeps what is in use until the last of it is freed. Nobody can ask it how much that is any more, so
// the rest is given back before.
CUresult on_cuMemPoolDestroy(auto* ask, CUmemoryPool handle) {
  const Locked locked(g_pools_lock);
  Pool* pool = find_pool(handle);
  if (pool && pool->number) trim_pool(*pool);
  const CUresult result = ask(handle);
  if (result == CUDA_SUCCESS && pool) pool_destroyed(*pool);
  return result;
}

CUresult on_cuMemPoolTrimTo(auto* ask, CUmemoryPool handle, size_t keep) {
  const Locked locked(g_pools_lock);
  const CUresult result = ask(handle, keep);
  if (Pool* pool = find_pool(handle)) settle_pool(*pool, 0);
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

#include "wrappers_pools.inc"

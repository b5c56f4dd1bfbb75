// Managed memory: host pages that both sides use. It is charged to the card in full from its allocation on,
// as if it had been moved there; more than the card has is refused.
#include <sys/mman.h>

#include "softgpu/cuda/api.h"
#include "softgpu/cuda/capture.h"
#include "softgpu/cuda/driver.h"
#include "softgpu/cuda/forms.h"

using namespace tweendeck::softgpu;

namespace {

constexpr unsigned kAttachGlobal = 1;
constexpr unsigned kAttachHost = 2;

// Advice and prefetching change nothing: there is one copy of the bytes. The range must be managed memory.
CUresult check_managed(CUdeviceptr address, size_t bytes) {
  TW_DRIVER(driver);
  std::lock_guard guard(driver->mutex);
  const auto found = driver->find_managed(address);
  if (found == driver->managed.end()) return CUDA_ERROR_INVALID_VALUE;
  return bytes != 0 && bytes <= found->first + found->second.bytes - address ? CUDA_SUCCESS
                                                                             : CUDA_ERROR_INVALID_VALUE;
}

CUresult prefetch(CUdeviceptr address, size_t bytes, CUstream handle, bool per_thread) {
  Stream* stream = nullptr;
  if (CUresult error = check_managed(address, bytes); error != CUDA_SUCCESS) return error;
  if (CUresult error = resolve_stream(handle, per_thread, stream); error != CUDA_SUCCESS) return error;
  return refuse_captured(*stream);
}

CUresult attach(CUdeviceptr address, CUstream handle, bool per_thread) {
  Stream* stream = nullptr;
  if (CUresult error = check_managed(address, 1); error != CUDA_SUCCESS) return error;
  return resolve_stream(handle, per_thread, stream);
}

}  // namespace

namespace tweendeck::softgpu {

Driver::ManagedMap::iterator Driver::find_managed(CUdeviceptr address) {
  auto next = managed.upper_bound(address);
  if (next == managed.begin()) return managed.end();
  const auto found = std::prev(next);
  return address - found->first < found->second.bytes ? found : managed.end();
}

bool Driver::free_managed(CUdeviceptr address) {
  Managed freed;
  {
    std::lock_guard guard(mutex);
    const auto found = managed.find(address);
    if (found == managed.end()) return false;
    freed = found->second;
    managed.erase(found);
  }
  // NOLINTNEXTLINE(performance-no-int-to-ptr)
  munmap(reinterpret_cast<void*>(address), freed.bytes);
  client_->release(device(freed.context->device)->card, freed.charged);
  return true;
}

}  // namespace tweendeck::softgpu

CUresult cuMemAllocManaged(CUdeviceptr* out, size_t bytes, unsigned flags) {
  TW_DRIVER(driver);
  TW_CONTEXT(context);
  if (out == nullptr || bytes == 0 || (flags != kAttachGlobal && flags != kAttachHost)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (CUresult error = refuse_unsafe(); error != CUDA_SUCCESS) return error;
  const uint32_t card = driver->device(context->device)->card;
  if (bytes > driver->info(context->device).memory_bytes) return CUDA_ERROR_OUT_OF_MEMORY;
  const uint64_t charge = DeviceMemory::charge_for(bytes);
  if (!driver->client().reserve(card, charge)) return CUDA_ERROR_OUT_OF_MEMORY;
  void* pages =
      mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
  if (pages == MAP_FAILED) {
    driver->client().release(card, charge);
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  *out = reinterpret_cast<CUdeviceptr>(pages);
  std::lock_guard guard(driver->mutex);
  driver->managed[*out] = {bytes, charge, context};
  return CUDA_SUCCESS;
}

CUresult cuMemAdvise(CUdeviceptr address, size_t bytes, int, CUdevice) {
  return check_managed(address, bytes);
}
CUresult cuMemAdvise_v2(CUdeviceptr address, size_t bytes, int, CUmemLocation) {
  return check_managed(address, bytes);
}
TW_TWO_FORMS(cuMemPrefetchAsync, _ptsz, (CUdeviceptr address, size_t bytes, CUdevice, CUstream stream),
             prefetch(address, bytes, stream, kPerThread))
TW_TWO_FORMS(cuMemPrefetchAsync_v2, _ptsz,
             (CUdeviceptr address, size_t bytes, CUmemLocation, unsigned, CUstream stream),
             prefetch(address, bytes, stream, kPerThread))
TW_TWO_FORMS(cuStreamAttachMemAsync, _ptsz, (CUstream stream, CUdeviceptr address, size_t, unsigned),
             attach(address, stream, kPerThread))

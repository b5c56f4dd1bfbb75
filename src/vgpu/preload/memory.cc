// Memory: every allocation is reserved in the books before the driver is asked, and given back when the
// driver says no.
#include "vgpu/preload/abi.h"
#include "vgpu/preload/calls.h"
#include "vgpu/preload/charge.h"
#include "vgpu/preload/pools.h"
#include "vgpu/preload/tenant.h"

using namespace tweendeck::vgpu;

namespace {

CUresult on_cuMemAlloc_v2(auto* ask, CUdeviceptr* out, size_t bytes) {
  return allocate_into(out, page_device_now(), in_granules(bytes), TW_VGPU_KIND_LINEAR,
                       [&] { return ask(out, bytes); });
}

CUresult on_cuMemAllocManaged(auto* ask, CUdeviceptr* out, size_t bytes, unsigned flags) {
  return allocate_into(out, page_device_now(), in_granules(bytes), TW_VGPU_KIND_MANAGED,
                       [&] { return ask(out, bytes, flags); });
}

CUresult on_cuMemFree_v2(auto* ask, CUdeviceptr address) {
  return free_memory(address, [&] { return ask(address); });
}

// The driver chooses the pitch: the width is reserved before the call and the padding after it.
CUresult on_cuMemAllocPitch_v2(auto* ask, CUdeviceptr* out, size_t* pitch, size_t width, size_t height,
                               unsigned element) {
  uint64_t bytes = 0;
  if (!out || !pitch || __builtin_mul_overflow(width, height, &bytes)) {
    return ask(out, pitch, width, height, element);
  }
  const int device = page_device_now();
  const CUresult result = allocate_into(out, device, in_granules(bytes), TW_VGPU_KIND_LINEAR,
                                        [&] { return ask(out, pitch, width, height, element); });
  Allocation allocation;
  if (result != CUDA_SUCCESS || !allocations().remove(*out, allocation)) return result;
  const uint64_t padding = in_granules(*pitch * height) - allocation.bytes;
  const CUresult padded = reserve(device, padding, TW_VGPU_KIND_LINEAR);
  if (padded == CUDA_SUCCESS) allocation.bytes += padding;
  allocations().insert(*out, allocation);
  if (padded != CUDA_SUCCESS) on_cuMemFree_v2(real<CUresult(CUdeviceptr)>(kCall_cuMemFree_v2), *out);
  return padded;
}

CUresult on_cuMemGetInfo_v2(auto* ask, size_t* free, size_t* total) {
  const CUresult result = ask(free, total);
  if (result != CUDA_SUCCESS || !free || !total) return result;
  if (const int device = page_device_now(); device >= 0) {
    uint64_t slice_free = *free, slice_total = *total;
    show_slice(static_cast<uint32_t>(device), slice_free, slice_total);
    *free = slice_free;
    *total = slice_total;
  }
  return result;
}

CUresult on_cuDeviceTotalMem_v2(auto* ask, size_t* bytes, CUdevice cuda_device) {
  const CUresult result = ask(bytes, cuda_device);
  if (result != CUDA_SUCCESS) return result;
  if (const int device = page_device(cuda_device); device >= 0) {
    uint64_t free = *bytes, total = *bytes;
    show_slice(static_cast<uint32_t>(device), free, total);
    *bytes = total;
  }
  return result;
}

}  // namespace

#include "wrappers_memory.inc"

namespace tweendeck::vgpu {

void show_slice(uint32_t device, uint64_t& free, uint64_t& total) {
  const uint64_t limit = memory_limit(device);
  if (limit == 0) return;
  const uint64_t claimed = tw_vgpu_memory_claimed(usage(), device, nullptr);
  const uint64_t left = claimed < limit ? limit - claimed : 0;
  if (left < free) free = left;
  if (limit < total) total = limit;
}

}  // namespace tweendeck::vgpu

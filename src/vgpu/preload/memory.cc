// Memory: every allocation is reserved in the books before the driver is asked, and given back when the
// driver says no.
#include "vgpu/preload/abi.h"
#include "vgpu/preload/calls.h"
#include "vgpu/preload/tenant.h"

using namespace tweendeck::vgpu;

TW_EXPORT CUresult cuMemFree_v2(CUdeviceptr address);

namespace {

CUresult reserve(int device, uint64_t bytes, tw_vgpu_kind kind) {
  const auto index = static_cast<uint32_t>(device);
  switch (books().reserve(index, device_limit(index, nullptr).memory_bytes, bytes, kind)) {
    case Grant::Granted:
      return CUDA_SUCCESS;
    case Grant::OverLimit:
      count_refusal(device, TW_VGPU_REFUSED_LIMIT);
      break;
    case Grant::Contended:
      count_refusal(device, TW_VGPU_REFUSED_CONTENDED);
      break;
  }
  return CUDA_ERROR_OUT_OF_MEMORY;
}

// `ask` calls the driver and returns the address or handle through its argument.
template <class Ask>
CUresult allocate(int device, uint64_t bytes, tw_vgpu_kind kind, Ask ask) {
  uint64_t address = 0;
  if (device == kNoDevice || bytes == 0) return ask(address);  // the driver knows the right error
  if (device == kNotInSlice) {
    count_refusal(device, TW_VGPU_REFUSED_DEVICE);
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  const CUresult granted = reserve(device, bytes, kind);
  if (granted != CUDA_SUCCESS) return granted;
  const CUresult result = ask(address);
  if (result != CUDA_SUCCESS) {
    books().release(static_cast<uint32_t>(device), bytes, kind);
    return result;
  }
  allocations().insert(address, {bytes, current_context(), static_cast<uint32_t>(device), kind});
  return CUDA_SUCCESS;
}

// The entry leaves the table before the driver may hand the address out again.
template <class Ask>
CUresult give_back(uint64_t address, Ask ask) {
  Allocation allocation;
  const bool known = mode() == Mode::Limited && allocations().remove(address, allocation);
  const CUresult result = ask();
  if (!known) return result;
  if (result == CUDA_SUCCESS) {
    books().release(allocation.device, allocation.bytes, allocation.kind);
  } else {
    allocations().insert(address, allocation);
  }
  return result;
}

CUresult refuse_call() {
  if (mode() == Mode::Limited) count_refusal(0, TW_VGPU_REFUSED_CALL);
  return CUDA_ERROR_NOT_SUPPORTED;
}

template <class F>
CUresult allocate_pool(Call call, CUdeviceptr* out, size_t bytes, F ask) {
  if (!real_address(call)) return CUDA_ERROR_NOT_SUPPORTED;
  const Mode now = mode_attached();
  if (now == Mode::Broken) return CUDA_ERROR_SYSTEM_NOT_READY;
  if (now == Mode::Inert || !out) return ask();
  return allocate(page_device_now(), bytes, TW_VGPU_KIND_POOL, [&](uint64_t& address) {
    const CUresult result = ask();
    address = *out;
    return result;
  });
}

// What a slice without a memory limit, or with one above the device, shows is the device.
void show_slice(uint32_t device, uint64_t& free, uint64_t& total) {
  const uint64_t limit = device_limit(device, nullptr).memory_bytes;
  if (limit == 0) return;
  const uint64_t claimed = tw_vgpu_memory_claimed(usage(), device, nullptr);
  const uint64_t left = claimed < limit ? limit - claimed : 0;
  if (left < free) free = left;
  if (limit < total) total = limit;
}

void release_in_books(const Allocation& allocation) {
  books().release(allocation.device, allocation.bytes, allocation.kind);
}

}  // namespace

namespace tweendeck::vgpu {
void release_context(uint64_t context) {
  if (mode() == Mode::Limited && books().attached()) allocations().remove_context(context, release_in_books);
}
}  // namespace tweendeck::vgpu

// Forms of before CUDA 3.2: 32-bit addresses that no program of today can use. Not accounted, so not allowed.
TW_EXPORT CUresult cuMemAlloc(unsigned* out, unsigned bytes) {
  if (mode() == Mode::Inert) return real<CUresult(unsigned*, unsigned)>(kCall_cuMemAlloc)(out, bytes);
  return refuse_call();
}
TW_EXPORT CUresult cuMemAllocPitch(unsigned* out, unsigned* pitch, unsigned width, unsigned height,
                                   unsigned element) {
  if (mode() == Mode::Inert) {
    return real<CUresult(unsigned*, unsigned*, unsigned, unsigned, unsigned)>(kCall_cuMemAllocPitch)(
        out, pitch, width, height, element);
  }
  return refuse_call();
}

TW_EXPORT CUresult cuMemAlloc_v2(CUdeviceptr* out, size_t bytes) {
  auto* ask = real<CUresult(CUdeviceptr*, size_t)>(kCall_cuMemAlloc_v2);
  if (!ask) return CUDA_ERROR_NOT_SUPPORTED;
  const Mode now = mode_attached();
  if (now == Mode::Broken) return CUDA_ERROR_SYSTEM_NOT_READY;
  if (now == Mode::Inert || !out) return ask(out, bytes);
  return allocate(page_device_now(), bytes, TW_VGPU_KIND_LINEAR, [&](uint64_t& address) {
    const CUresult result = ask(out, bytes);
    address = *out;
    return result;
  });
}

TW_EXPORT CUresult cuMemAllocManaged(CUdeviceptr* out, size_t bytes, unsigned flags) {
  auto* ask = real<CUresult(CUdeviceptr*, size_t, unsigned)>(kCall_cuMemAllocManaged);
  if (!ask) return CUDA_ERROR_NOT_SUPPORTED;
  const Mode now = mode_attached();
  if (now == Mode::Broken) return CUDA_ERROR_SYSTEM_NOT_READY;
  if (now == Mode::Inert || !out) return ask(out, bytes, flags);
  return allocate(page_device_now(), bytes, TW_VGPU_KIND_MANAGED, [&](uint64_t& address) {
    const CUresult result = ask(out, bytes, flags);
    address = *out;
    return result;
  });
}

// The driver chooses the pitch: the width is reserved before the call and the padding after it.
TW_EXPORT CUresult cuMemAllocPitch_v2(CUdeviceptr* out, size_t* pitch, size_t width, size_t height,
                                      unsigned element) {
  auto* ask = real<CUresult(CUdeviceptr*, size_t*, size_t, size_t, unsigned)>(kCall_cuMemAllocPitch_v2);
  if (!ask) return CUDA_ERROR_NOT_SUPPORTED;
  const Mode now = mode_attached();
  if (now == Mode::Broken) return CUDA_ERROR_SYSTEM_NOT_READY;
  uint64_t bytes = 0;
  if (now == Mode::Inert || !out || !pitch || __builtin_mul_overflow(width, height, &bytes)) {
    return ask(out, pitch, width, height, element);
  }
  const int device = page_device_now();
  const CUresult result = allocate(device, bytes, TW_VGPU_KIND_LINEAR, [&](uint64_t& address) {
    const CUresult asked = ask(out, pitch, width, height, element);
    address = *out;
    return asked;
  });
  Allocation allocation;
  if (result != CUDA_SUCCESS || *pitch <= width || !allocations().remove(*out, allocation)) return result;
  const uint64_t padding = (*pitch - width) * height;
  const CUresult padded = reserve(device, padding, TW_VGPU_KIND_LINEAR);
  if (padded == CUDA_SUCCESS) allocation.bytes += padding;
  allocations().insert(*out, allocation);
  if (padded != CUDA_SUCCESS) cuMemFree_v2(*out);
  return padded;
}

TW_EXPORT CUresult cuMemFree_v2(CUdeviceptr address) {
  auto* ask = real<CUresult(CUdeviceptr)>(kCall_cuMemFree_v2);
  if (!ask) return CUDA_ERROR_NOT_SUPPORTED;
  return give_back(address, [&] { return ask(address); });
}

#define TW_STREAM_ORDERED(suffix)                                                                       \
  TW_EXPORT CUresult cuMemAllocAsync##suffix(CUdeviceptr* out, size_t bytes, CUstream stream) {         \
    return allocate_pool(kCall_cuMemAllocAsync##suffix, out, bytes, [&] {                               \
      return real<CUresult(CUdeviceptr*, size_t, CUstream)>(kCall_cuMemAllocAsync##suffix)(out, bytes,  \
                                                                                           stream);     \
    });                                                                                                 \
  }                                                                                                     \
  TW_EXPORT CUresult cuMemAllocFromPoolAsync##suffix(CUdeviceptr* out, size_t bytes, CUmemoryPool pool, \
                                                     CUstream stream) {                                 \
    return allocate_pool(kCall_cuMemAllocFromPoolAsync##suffix, out, bytes, [&] {                       \
      return real<CUresult(CUdeviceptr*, size_t, CUmemoryPool, CUstream)>(                              \
          kCall_cuMemAllocFromPoolAsync##suffix)(out, bytes, pool, stream);                             \
    });                                                                                                 \
  }                                                                                                     \
  TW_EXPORT CUresult cuMemFreeAsync##suffix(CUdeviceptr address, CUstream stream) {                     \
    auto* ask = real<CUresult(CUdeviceptr, CUstream)>(kCall_cuMemFreeAsync##suffix);                    \
    if (!ask) return CUDA_ERROR_NOT_SUPPORTED;                                                          \
    return give_back(address, [&] { return ask(address, stream); });                                    \
  }
TW_STREAM_ORDERED()
TW_STREAM_ORDERED(_ptsz)

TW_EXPORT CUresult cuMemCreate(CUmemGenericAllocationHandle* out, size_t bytes,
                               const CUmemAllocationProp* properties, unsigned long long flags) {
  using F = CUresult(CUmemGenericAllocationHandle*, size_t, const CUmemAllocationProp*, unsigned long long);
  auto* ask = real<F>(kCall_cuMemCreate);
  if (!ask) return CUDA_ERROR_NOT_SUPPORTED;
  const Mode now = mode_attached();
  if (now == Mode::Broken) return CUDA_ERROR_SYSTEM_NOT_READY;
  // Memory of the host is not the slice's.
  if (now == Mode::Inert || !out || !properties || properties->location_type != kLocationDevice) {
    return ask(out, bytes, properties, flags);
  }
  return allocate(page_device(properties->location_id), bytes, TW_VGPU_KIND_VIRTUAL, [&](uint64_t& address) {
    const CUresult result = ask(out, bytes, properties, flags);
    address = *out;
    return result;
  });
}

TW_EXPORT CUresult cuMemRelease(CUmemGenericAllocationHandle handle) {
  auto* ask = real<CUresult(CUmemGenericAllocationHandle)>(kCall_cuMemRelease);
  if (!ask) return CUDA_ERROR_NOT_SUPPORTED;
  return give_back(handle, [&] { return ask(handle); });
}

TW_EXPORT CUresult cuMemGetInfo_v2(size_t* free, size_t* total) {
  auto* ask = real<CUresult(size_t*, size_t*)>(kCall_cuMemGetInfo_v2);
  if (!ask) return CUDA_ERROR_NOT_SUPPORTED;
  const CUresult result = ask(free, total);
  if (result != CUDA_SUCCESS || mode() != Mode::Limited || !free || !total) return result;
  if (const int device = page_device_now(); device >= 0) {
    uint64_t slice_free = *free, slice_total = *total;
    show_slice(static_cast<uint32_t>(device), slice_free, slice_total);
    *free = slice_free;
    *total = slice_total;
  }
  return result;
}

TW_EXPORT CUresult cuDeviceTotalMem_v2(size_t* bytes, CUdevice cuda_device) {
  auto* ask = real<CUresult(size_t*, CUdevice)>(kCall_cuDeviceTotalMem_v2);
  if (!ask) return CUDA_ERROR_NOT_SUPPORTED;
  const CUresult result = ask(bytes, cuda_device);
  if (result != CUDA_SUCCESS || mode() != Mode::Limited) return result;
  if (const int device = page_device(cuda_device); device >= 0) {
    uint64_t free = *bytes, total = *bytes;
    show_slice(static_cast<uint32_t>(device), free, total);
    *bytes = total;
  }
  return result;
}

TW_EXPORT nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t handle, nvmlMemory_t* memory) {
  auto* ask = real<nvmlReturn_t(nvmlDevice_t, nvmlMemory_t*)>(kCall_nvmlDeviceGetMemoryInfo);
  if (!ask) return NVML_ERROR_FUNCTION_NOT_FOUND;
  const nvmlReturn_t result = ask(handle, memory);
  if (result != NVML_SUCCESS || mode() != Mode::Limited) return result;
  if (const int device = page_device(handle); device >= 0) {
    uint64_t free = memory->free, total = memory->total;
    show_slice(static_cast<uint32_t>(device), free, total);
    *memory = {total, free, total - free};
  }
  return result;
}

TW_EXPORT nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t handle, nvmlMemory_v2_t* memory) {
  auto* ask = real<nvmlReturn_t(nvmlDevice_t, nvmlMemory_v2_t*)>(kCall_nvmlDeviceGetMemoryInfo_v2);
  if (!ask) return NVML_ERROR_FUNCTION_NOT_FOUND;
  const nvmlReturn_t result = ask(handle, memory);
  if (result != NVML_SUCCESS || mode() != Mode::Limited) return result;
  if (const int device = page_device(handle); device >= 0) {
    uint64_t free = memory->free, total = memory->total;
    show_slice(static_cast<uint32_t>(device), free, total);
    *memory = {memory->version, total, 0, free, total - free};
  }
  return result;
}

// Memory: every allocation is reserved in the books before the driver is asked, and given back when the
// driver says no.
#include "vgpu/preload/abi.h"
#include "vgpu/preload/calls.h"
#include "vgpu/preload/tenant.h"

using namespace tweendeck::vgpu;

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

// For calls that answer with an address or handle in *out.
template <class Out, class Ask>
CUresult allocate_into(Out* out, int device, uint64_t bytes, tw_vgpu_kind kind, Ask ask) {
  if (!out) return ask();
  return allocate(device, bytes, kind, [&](uint64_t& address) {
    const CUresult result = ask();
    address = *out;
    return result;
  });
}

void release_in_books(const Allocation& allocation) {
  books().release(allocation.device, allocation.bytes, allocation.kind);
}

CUresult on_cuMemAlloc_v2(auto* ask, CUdeviceptr* out, size_t bytes) {
  return allocate_into(out, page_device_now(), bytes, TW_VGPU_KIND_LINEAR, [&] { return ask(out, bytes); });
}

CUresult on_cuMemAllocManaged(auto* ask, CUdeviceptr* out, size_t bytes, unsigned flags) {
  return allocate_into(out, page_device_now(), bytes, TW_VGPU_KIND_MANAGED,
                       [&] { return ask(out, bytes, flags); });
}

CUresult on_cuMemFree_v2(auto* ask, CUdeviceptr address) {
  return give_back(address, [&] { return ask(address); });
}

// The driver chooses the pitch: the width is reserved before the call and the padding after it.
CUresult on_cuMemAllocPitch_v2(auto* ask, CUdeviceptr* out, size_t* pitch, size_t width, size_t height,
                               unsigned element) {
  uint64_t bytes = 0;
  if (!out || !pitch || __builtin_mul_overflow(width, height, &bytes)) {
    return ask(out, pitch, width, height, element);
  }
  const int device = page_device_now();
  const CUresult result = allocate_into(out, device, bytes, TW_VGPU_KIND_LINEAR,
                                        [&] { return ask(out, pitch, width, height, element); });
  Allocation allocation;
  if (result != CUDA_SUCCESS || *pitch <= width || !allocations().remove(*out, allocation)) return result;
  const uint64_t padding = (*pitch - width) * height;
  const CUresult padded = reserve(device, padding, TW_VGPU_KIND_LINEAR);
  if (padded == CUDA_SUCCESS) allocation.bytes += padding;
  allocations().insert(*out, allocation);
  if (padded != CUDA_SUCCESS) on_cuMemFree_v2(real<CUresult(CUdeviceptr)>(kCall_cuMemFree_v2), *out);
  return padded;
}

CUresult on_cuMemAllocAsync(auto* ask, Form, CUdeviceptr* out, size_t bytes, CUstream stream) {
  return allocate_into(out, page_device_now(), bytes, TW_VGPU_KIND_POOL,
                       [&] { return ask(out, bytes, stream); });
}

CUresult on_cuMemAllocFromPoolAsync(auto* ask, Form, CUdeviceptr* out, size_t bytes, CUmemoryPool pool,
                                    CUstream stream) {
  return allocate_into(out, page_device_now(), bytes, TW_VGPU_KIND_POOL,
                       [&] { return ask(out, bytes, pool, stream); });
}

CUresult on_cuMemFreeAsync(auto* ask, Form, CUdeviceptr address, CUstream stream) {
  return give_back(address, [&] { return ask(address, stream); });
}

CUresult on_cuMemCreate(auto* ask, CUmemGenericAllocationHandle* out, size_t bytes,
                        const CUmemAllocationProp* properties, unsigned long long flags) {
  const auto create = [&] { return ask(out, bytes, properties, flags); };
  // Memory of the host is not the slice's.
  if (!properties || properties->location_type != kLocationDevice) return create();
  return allocate_into(out, page_device(properties->location_id), bytes, TW_VGPU_KIND_VIRTUAL, create);
}

CUresult on_cuMemRelease(auto* ask, CUmemGenericAllocationHandle handle) {
  return give_back(handle, [&] { return ask(handle); });
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
  const uint64_t limit = device_limit(device, nullptr).memory_bytes;
  if (limit == 0) return;
  const uint64_t claimed = tw_vgpu_memory_claimed(usage(), device, nullptr);
  const uint64_t left = claimed < limit ? limit - claimed : 0;
  if (left < free) free = left;
  if (limit < total) total = limit;
}

void release_context(uint64_t context) {
  if (mode() == Mode::Limited && books().attached()) allocations().remove_context(context, release_in_books);
}
}  // namespace tweendeck::vgpu

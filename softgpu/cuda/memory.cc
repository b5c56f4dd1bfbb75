// Device and host memory: allocation and what there is of it.
#include <algorithm>
#include <cstdlib>

#include "softgpu/cuda/api.h"
#include "softgpu/cuda/capture.h"
#include "softgpu/cuda/driver.h"
#include "softgpu/cuda/graph_memory.h"
#include "softgpu/cuda/operation.h"
#include "softgpu/cuda/pool.h"

using namespace tweendeck::softgpu;

namespace {

constexpr size_t kPitchAlignment = 512;
constexpr size_t kHostAlignment = 4096;
uint32_t card_of(Driver& driver, const Context& context) {
  return driver.device(context.device)->card;
}

uint64_t address(const void* pointer) {
  return reinterpret_cast<uint64_t>(pointer);
}

CUresult allocate_host(void** out, size_t bytes) {
  TW_DRIVER(driver);
  TW_CONTEXT(context);
  if (out == nullptr || bytes == 0) return CUDA_ERROR_INVALID_VALUE;
  if (posix_memalign(out, kHostAlignment, bytes) != 0) return CUDA_ERROR_OUT_OF_MEMORY;
  std::lock_guard guard(driver->mutex);
  driver->host_allocations[*out] = bytes;
  return CUDA_SUCCESS;
}

}  // namespace

namespace tweendeck::softgpu {

CUresult free_now(CUdeviceptr address) {
  Driver& driver = *Driver::get();
  DeviceMemory* memory = driver.find_memory(address);
  if (memory == nullptr) return driver.free_managed(address) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
  const auto range = memory->find(address);
  if (!range || range->address != address) return CUDA_ERROR_INVALID_VALUE;
  switch (range->owner.kind) {
    case MemoryKind::Linear: {
      const auto freed = memory->free(address);
      if (!freed) return CUDA_ERROR_INVALID_VALUE;  // another thread was faster
      driver.client().release(card_of(driver, *static_cast<const Context*>(freed->owner.context)),
                              freed->charged);
      return CUDA_SUCCESS;
    }
    case MemoryKind::Pooled:
      free_to(*range->owner.pool, address);
      return CUDA_SUCCESS;
    case MemoryKind::Graph:
      return free_graph_allocation(address) ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
    default:
      return CUDA_ERROR_INVALID_VALUE;
  }
}

}  // namespace tweendeck::softgpu

CUresult cuMemGetInfo_v2(size_t* free, size_t* total) {
  TW_DRIVER(driver);
  TW_CONTEXT(context);
  if (free == nullptr || total == nullptr) return CUDA_ERROR_INVALID_VALUE;
  driver->model().reclaim_dead();  // what a killed process held is free, as it is on a real card
  const Card& card = driver->model().shared().card(card_of(*driver, *context));
  *total = card.info.memory_bytes;
  *free = *total - std::min<uint64_t>(*total, card.used_bytes.load(std::memory_order_relaxed));
  return CUDA_SUCCESS;
}

CUresult cuMemAlloc_v2(CUdeviceptr* out, size_t bytes) {
  TW_DRIVER(driver);
  TW_CONTEXT(context);
  if (out == nullptr || bytes == 0) return CUDA_ERROR_INVALID_VALUE;
  if (CUresult error = refuse_unsafe(); error != CUDA_SUCCESS) return error;
  Device& device = *driver->device(context->device);
  if (bytes > driver->info(context->device).memory_bytes) return CUDA_ERROR_OUT_OF_MEMORY;
  const uint64_t charge = DeviceMemory::charge_for(bytes);
  if (!driver->client().reserve(device.card, charge)) return CUDA_ERROR_OUT_OF_MEMORY;
  *out = device.memory->allocate(bytes, {MemoryKind::Linear, context, nullptr, nullptr});
  if (*out != 0) return CUDA_SUCCESS;
  driver->client().release(device.card, charge);
  return CUDA_ERROR_OUT_OF_MEMORY;
}

CUresult cuMemAllocPitch_v2(CUdeviceptr* out, size_t* pitch, size_t width, size_t height,
                            unsigned element_bytes) {
  if (pitch == nullptr || width == 0 || height == 0) return CUDA_ERROR_INVALID_VALUE;
  if (element_bytes != 4 && element_bytes != 8 && element_bytes != 16) return CUDA_ERROR_INVALID_VALUE;
  if (width > SIZE_MAX - kPitchAlignment) return CUDA_ERROR_INVALID_VALUE;
  const size_t row = (width + kPitchAlignment - 1) / kPitchAlignment * kPitchAlignment;
  size_t bytes = 0;
  if (__builtin_mul_overflow(row, height, &bytes)) return CUDA_ERROR_OUT_OF_MEMORY;
  const CUresult result = cuMemAlloc_v2(out, bytes);
  if (result == CUDA_SUCCESS) *pitch = row;
  return result;
}

CUresult cuMemFree_v2(CUdeviceptr address) {
  TW_DRIVER(driver);
  TW_CONTEXT(context);
  if (address == 0) return CUDA_SUCCESS;
  if (CUresult error = refuse_unsafe(); error != CUDA_SUCCESS) return error;
  // As the real call does: work that may use the memory ends first.
  Context* owner = context;
  if (DeviceMemory* memory = driver->find_memory(address)) {
    const auto range = memory->find(address);
    if (!range || range->address != address) return CUDA_ERROR_INVALID_VALUE;
    const void* of_memory = range->owner.context;
    if (of_memory != nullptr) owner = const_cast<Context*>(static_cast<const Context*>(of_memory));
  }
  synchronize(*owner);
  return free_now(address);
}

CUresult cuMemGetAddressRange_v2(CUdeviceptr* base, size_t* bytes, CUdeviceptr address) {
  TW_DRIVER(driver);
  TW_CONTEXT(context);
  DeviceMemory* memory = driver->find_memory(address);
  const auto range = memory != nullptr ? memory->find(address) : std::nullopt;
  if (!range) return CUDA_ERROR_NOT_FOUND;
  if (base != nullptr) *base = range->address;
  if (bytes != nullptr) *bytes = range->bytes;
  return CUDA_SUCCESS;
}

CUresult cuMemAllocHost_v2(void** out, size_t bytes) {
  return allocate_host(out, bytes);
}
CUresult cuMemHostAlloc(void** out, size_t bytes, unsigned) {
  return allocate_host(out, bytes);
}

CUresult cuMemFreeHost(void* pointer) {
  TW_DRIVER(driver);
  {
    std::lock_guard guard(driver->mutex);
    if (driver->host_allocations.erase(pointer) == 0) return CUDA_ERROR_INVALID_VALUE;
  }
  free(pointer);
  return CUDA_SUCCESS;
}

CUresult cuMemHostGetDevicePointer_v2(CUdeviceptr* out, void* pointer, unsigned flags) {
  TW_DRIVER(driver);
  if (out == nullptr || flags != 0) return CUDA_ERROR_INVALID_VALUE;
  *out = address(pointer);  // unified addressing
  return CUDA_SUCCESS;
}

CUresult cuMemHostGetFlags(unsigned* flags, void* pointer) {
  TW_DRIVER(driver);
  std::lock_guard guard(driver->mutex);
  if (flags == nullptr || !driver->host_allocations.contains(pointer)) return CUDA_ERROR_INVALID_VALUE;
  *flags = 0;
  return CUDA_SUCCESS;
}

CUresult cuMemHostRegister_v2(void* pointer, size_t bytes, unsigned) {
  TW_DRIVER(driver);
  TW_CONTEXT(context);
  if (pointer == nullptr || bytes == 0) return CUDA_ERROR_INVALID_VALUE;
  std::lock_guard guard(driver->mutex);
  const bool is_new = driver->host_registrations.emplace(pointer, bytes).second;
  return is_new ? CUDA_SUCCESS : CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED;
}

CUresult cuMemHostUnregister(void* pointer) {
  TW_DRIVER(driver);
  std::lock_guard guard(driver->mutex);
  return driver->host_registrations.erase(pointer) == 1 ? CUDA_SUCCESS
                                                        : CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED;
}

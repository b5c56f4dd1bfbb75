// Device and host memory: allocation, fills and copies. Copies move real bytes at the time of the call; one
// that the API defines as synchronous first waits for its stream. They take the host's copying time and no
// time of the card.
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "softgpu/cuda/api.h"
#include "softgpu/cuda/driver.h"

using namespace tweendeck::softgpu;

namespace {

constexpr size_t kPitchAlignment = 512;
constexpr size_t kHostAlignment = 4096;
constexpr bool kLegacyDefault = false;
constexpr bool kPerThreadDefault = true;

uint32_t card_of(Driver& driver, const Context& context) {
  return driver.device(context.device)->card;
}

// An address of either kind as bytes of this process; nullptr when it is a device address outside any
// allocation.
char* any_bytes(Driver& driver, uint64_t address, size_t bytes) {
  if (driver.find_memory(address) != nullptr) return driver.translate(address, bytes);
  return reinterpret_cast<char*>(address);
}

CUresult check_stream(CUstream handle, bool per_thread, bool wait) {
  TW_DRIVER(driver);
  TW_CONTEXT(context);
  Stream* stream = nullptr;
  if (CUresult error = resolve_stream(handle, per_thread, stream); error != CUDA_SUCCESS) return error;
  if (wait) synchronize(*stream);
  return CUDA_SUCCESS;
}

enum class Sync : bool { No, Yes };

CUresult copy(uint64_t destination, uint64_t source, size_t bytes, CUstream stream, bool per_thread,
              Sync sync) {
  if (CUresult error = check_stream(stream, per_thread, sync == Sync::Yes); error != CUDA_SUCCESS)
    return error;
  if (bytes == 0) return CUDA_SUCCESS;
  Driver& driver = *Driver::get();
  char* to = any_bytes(driver, destination, bytes);
  char* from = any_bytes(driver, source, bytes);
  if (to == nullptr || from == nullptr) return CUDA_ERROR_INVALID_VALUE;
  memmove(to, from, bytes);
  return CUDA_SUCCESS;
}

uint64_t address(const void* pointer) {
  return reinterpret_cast<uint64_t>(pointer);
}

// Copies where the device side must be device memory.
CUresult copy_device(CUdeviceptr device, uint64_t destination, uint64_t source, size_t bytes, CUstream stream,
                     bool per_thread, Sync sync) {
  TW_DRIVER(driver);
  if (bytes > 0 && driver->translate(device, bytes) == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return copy(destination, source, bytes, stream, per_thread, sync);
}

template <class Element>
CUresult fill(CUdeviceptr destination, size_t pitch, Element value, size_t width, size_t height,
              CUstream stream, bool per_thread) {
  // The host may go on before the card has done it, but work behind it in the stream sees it: done now, it is
  // seen.
  if (CUresult error = check_stream(stream, per_thread, false); error != CUDA_SUCCESS) return error;
  if (width > SIZE_MAX / sizeof(Element)) return CUDA_ERROR_INVALID_VALUE;
  if (destination % sizeof(Element) != 0 || (height > 1 && pitch < width * sizeof(Element))) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (width == 0 || height == 0) return CUDA_SUCCESS;
  const size_t row_bytes = width * sizeof(Element);
  size_t span = 0;
  if (__builtin_mul_overflow(height - 1, pitch, &span) || __builtin_add_overflow(span, row_bytes, &span)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  char* bytes = Driver::get()->translate(destination, span);
  if (bytes == nullptr) return CUDA_ERROR_INVALID_VALUE;
  for (size_t row = 0; row < height; ++row, bytes += pitch) {
    if constexpr (sizeof(Element) == 1) {
      memset(bytes, value, row_bytes);
    } else {
      std::fill_n(reinterpret_cast<Element*>(bytes), width, value);
    }
  }
  return CUDA_SUCCESS;
}

CUresult copy_2d(const CUDA_MEMCPY2D* c, CUstream stream, bool per_thread, Sync sync) {
  if (CUresult error = check_stream(stream, per_thread, sync == Sync::Yes); error != CUDA_SUCCESS)
    return error;
  if (c == nullptr) return CUDA_ERROR_INVALID_VALUE;
  auto base = [](CUmemorytype type, const void* host, CUdeviceptr device) -> uint64_t {
    if (type == kMemoryHost) return address(host);
    return type == kMemoryDevice || type == kMemoryUnified ? device : 0;
  };
  uint64_t source = base(c->src_type, c->src_host, c->src_device);
  uint64_t destination = base(c->dst_type, c->dst_host, c->dst_device);
  const size_t src_pitch = c->src_pitch != 0 ? c->src_pitch : c->width;
  const size_t dst_pitch = c->dst_pitch != 0 ? c->dst_pitch : c->width;
  if (source == 0 || destination == 0 || c->src_x + c->width > src_pitch || c->dst_x + c->width > dst_pitch) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  source += c->src_y * src_pitch + c->src_x;
  destination += c->dst_y * dst_pitch + c->dst_x;
  Driver& driver = *Driver::get();
  for (size_t row = 0; row < c->height; ++row, source += src_pitch, destination += dst_pitch) {
    char* from = any_bytes(driver, source, c->width);
    char* to = any_bytes(driver, destination, c->width);
    if (from == nullptr || to == nullptr) return CUDA_ERROR_INVALID_VALUE;
    memmove(to, from, c->width);
  }
  return CUDA_SUCCESS;
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
  Device& device = *driver->device(context->device);
  if (bytes > driver->info(context->device).memory_bytes) return CUDA_ERROR_OUT_OF_MEMORY;
  const uint64_t charge = DeviceMemory::charge_for(bytes);
  if (!driver->client().reserve(device.card, charge)) return CUDA_ERROR_OUT_OF_MEMORY;
  *out = device.memory->allocate(bytes, context);
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
  DeviceMemory* memory = driver->find_memory(address);
  if (memory == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const auto range = memory->find(address);
  if (!range || range->address != address) return CUDA_ERROR_INVALID_VALUE;
  // As the real call does: work that may use the memory ends first.
  auto* owner = const_cast<Context*>(static_cast<const Context*>(range->context));
  const uint32_t card = card_of(*driver, *owner);
  join_virtual_time();
  driver->client().wait_done(card, owner->last_ticket.load());
  const auto freed = memory->free(address);
  if (!freed) return CUDA_ERROR_INVALID_VALUE;  // another thread was faster
  driver->client().release(card, freed->charged);
  return CUDA_SUCCESS;
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

// Each call in its two forms: the default stream is the legacy one, or (suffix _ptds, _ptsz) the thread's
// own.
#define TW_TWO_FORMS(name, suffix, parameters, ...) \
  CUresult name parameters {                        \
    constexpr bool kPerThread = kLegacyDefault;     \
    return __VA_ARGS__;                             \
  }                                                 \
  CUresult name##suffix parameters {                \
    constexpr bool kPerThread = kPerThreadDefault;  \
    return __VA_ARGS__;                             \
  }

TW_TWO_FORMS(cuMemcpy, _ptds, (CUdeviceptr to, CUdeviceptr from, size_t n),
             copy(to, from, n, nullptr, kPerThread, Sync::Yes))
TW_TWO_FORMS(cuMemcpyHtoD_v2, _ptds, (CUdeviceptr to, const void* from, size_t n),
             copy_device(to, to, address(from), n, nullptr, kPerThread, Sync::Yes))
TW_TWO_FORMS(cuMemcpyDtoH_v2, _ptds, (void* to, CUdeviceptr from, size_t n),
             copy_device(from, address(to), from, n, nullptr, kPerThread, Sync::Yes))
TW_TWO_FORMS(cuMemcpyDtoD_v2, _ptds, (CUdeviceptr to, CUdeviceptr from, size_t n),
             copy_device(to, to, from, n, nullptr, kPerThread, Sync::No))
TW_TWO_FORMS(cuMemcpyPeer, _ptds, (CUdeviceptr to, CUcontext, CUdeviceptr from, CUcontext, size_t n),
             copy_device(to, to, from, n, nullptr, kPerThread, Sync::No))
TW_TWO_FORMS(cuMemcpyAsync, _ptsz, (CUdeviceptr to, CUdeviceptr from, size_t n, CUstream stream),
             copy(to, from, n, stream, kPerThread, Sync::No))
TW_TWO_FORMS(cuMemcpyHtoDAsync_v2, _ptsz, (CUdeviceptr to, const void* from, size_t n, CUstream stream),
             copy_device(to, to, address(from), n, stream, kPerThread, Sync::No))
TW_TWO_FORMS(cuMemcpyDtoHAsync_v2, _ptsz, (void* to, CUdeviceptr from, size_t n, CUstream stream),
             copy_device(from, address(to), from, n, stream, kPerThread, Sync::No))
TW_TWO_FORMS(cuMemcpyDtoDAsync_v2, _ptsz, (CUdeviceptr to, CUdeviceptr from, size_t n, CUstream stream),
             copy_device(to, to, from, n, stream, kPerThread, Sync::No))
TW_TWO_FORMS(cuMemcpyPeerAsync, _ptsz,
             (CUdeviceptr to, CUcontext, CUdeviceptr from, CUcontext, size_t n, CUstream stream),
             copy_device(to, to, from, n, stream, kPerThread, Sync::No))
TW_TWO_FORMS(cuMemcpy2D_v2, _ptds, (const CUDA_MEMCPY2D* c), copy_2d(c, nullptr, kPerThread, Sync::Yes))
TW_TWO_FORMS(cuMemcpy2DUnaligned_v2, _ptds, (const CUDA_MEMCPY2D* c),
             copy_2d(c, nullptr, kPerThread, Sync::Yes))
TW_TWO_FORMS(cuMemcpy2DAsync_v2, _ptsz, (const CUDA_MEMCPY2D* c, CUstream stream),
             copy_2d(c, stream, kPerThread, Sync::No))
TW_TWO_FORMS(cuMemsetD8_v2, _ptds, (CUdeviceptr to, unsigned char value, size_t n),
             fill(to, 0, value, n, 1, nullptr, kPerThread))
TW_TWO_FORMS(cuMemsetD16_v2, _ptds, (CUdeviceptr to, unsigned short value, size_t n),
             fill(to, 0, value, n, 1, nullptr, kPerThread))
TW_TWO_FORMS(cuMemsetD32_v2, _ptds, (CUdeviceptr to, unsigned value, size_t n),
             fill(to, 0, value, n, 1, nullptr, kPerThread))
TW_TWO_FORMS(cuMemsetD2D8_v2, _ptds,
             (CUdeviceptr to, size_t pitch, unsigned char value, size_t width, size_t height),
             fill(to, pitch, value, width, height, nullptr, kPerThread))
TW_TWO_FORMS(cuMemsetD2D32_v2, _ptds,
             (CUdeviceptr to, size_t pitch, unsigned value, size_t width, size_t height),
             fill(to, pitch, value, width, height, nullptr, kPerThread))
TW_TWO_FORMS(cuMemsetD8Async, _ptsz, (CUdeviceptr to, unsigned char value, size_t n, CUstream stream),
             fill(to, 0, value, n, 1, stream, kPerThread))
TW_TWO_FORMS(cuMemsetD16Async, _ptsz, (CUdeviceptr to, unsigned short value, size_t n, CUstream stream),
             fill(to, 0, value, n, 1, stream, kPerThread))
TW_TWO_FORMS(cuMemsetD32Async, _ptsz, (CUdeviceptr to, unsigned value, size_t n, CUstream stream),
             fill(to, 0, value, n, 1, stream, kPerThread))

// What an address is: cuPointerGetAttribute(s).
#include "softgpu/cuda/api.h"
#include "softgpu/cuda/driver.h"

using namespace tweendeck::softgpu;

namespace {

enum PointerAttribute : int {  // CUpointer_attribute
  kContext = 1,
  kMemoryType = 2,
  kDevicePointer = 3,
  kHostPointer = 4,
  kBufferId = 7,
  kIsManaged = 8,
  kDeviceOrdinal = 9,
  kRangeStart = 11,
  kRangeSize = 12,
  kMapped = 13,
};

template <class T>
CUresult give(void* out, T value) {
  *static_cast<T*>(out) = value;
  return CUDA_SUCCESS;
}

CUresult device_attribute(void* out, int attribute, const DeviceMemory::Range& range, uint64_t address) {
  auto* context = const_cast<Context*>(static_cast<const Context*>(range.context));
  switch (attribute) {
    case kContext:
      return give(out, reinterpret_cast<CUcontext>(context));
    case kMemoryType:
      return give(out, kMemoryDevice);
    case kDevicePointer:
      return give<CUdeviceptr>(out, address);
    case kBufferId:
      return give<unsigned long long>(out, range.address);
    case kIsManaged:
      return give<int>(out, 0);
    case kDeviceOrdinal:
      return give<int>(out, context->device);
    case kRangeStart:
      return give<CUdeviceptr>(out, range.address);
    case kRangeSize:
      return give<size_t>(out, range.bytes);
    case kMapped:
      return give<int>(out, 1);
    default:
      return CUDA_ERROR_INVALID_VALUE;
  }
}

CUresult host_attribute(void* out, int attribute, uint64_t address) {
  switch (attribute) {
    case kMemoryType:
      return give(out, kMemoryHost);
    case kDevicePointer:
      return give<CUdeviceptr>(out, address);
    case kHostPointer:
      return give(out, reinterpret_cast<void*>(address));
    case kIsManaged:
      return give<int>(out, 0);
    case kMapped:
      return give<int>(out, 1);
    default:
      return CUDA_ERROR_INVALID_VALUE;
  }
}

bool holds(const std::unordered_map<const void*, size_t>& ranges, uint64_t address) {
  for (const auto& [start, bytes] : ranges) {
    if (address - reinterpret_cast<uint64_t>(start) < bytes) return true;
  }
  return false;
}

}  // namespace

CUresult cuPointerGetAttribute(void* out, int attribute, CUdeviceptr address) {
  TW_DRIVER(driver);
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (DeviceMemory* memory = driver->find_memory(address)) {
    const auto range = memory->find(address);
    return range ? device_attribute(out, attribute, *range, address) : CUDA_ERROR_INVALID_VALUE;
  }
  std::lock_guard guard(driver->mutex);
  if (!holds(driver->host_allocations, address) && !holds(driver->host_registrations, address)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  return host_attribute(out, attribute, address);
}

// Unlike the single form, an attribute that does not apply is zeroed and is no error.
CUresult cuPointerGetAttributes(unsigned count, int* attributes, void** data, CUdeviceptr address) {
  TW_DRIVER(driver);
  if (attributes == nullptr || data == nullptr) return CUDA_ERROR_INVALID_VALUE;
  for (unsigned i = 0; i < count; ++i) {
    if (cuPointerGetAttribute(data[i], attributes[i], address) == CUDA_SUCCESS) continue;
    const bool is_word = attributes[i] == kContext || attributes[i] == kDevicePointer ||
                         attributes[i] == kHostPointer || attributes[i] == kBufferId ||
                         attributes[i] == kRangeStart || attributes[i] == kRangeSize;
    if (is_word) {
      give<uint64_t>(data[i], 0);
    } else {
      give<int>(data[i], attributes[i] == kDeviceOrdinal ? -2 : 0);
    }
  }
  return CUDA_SUCCESS;
}

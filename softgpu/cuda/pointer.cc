// What an address is: cuPointerGetAttribute(s).
#include "softgpu/cuda/api.h"
#include "softgpu/cuda/driver.h"
#include "softgpu/cuda/pool.h"

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
  kIpcCapable = 10,
  kRangeStart = 11,
  kRangeSize = 12,
  kMapped = 13,
  kHandleTypes = 14,
  kAccessFlags = 16,
  kPoolHandle = 17,
  kMappingSize = 18,
  kMappingBase = 19,
};

// What is known of one address.
struct Pointer {
  CUmemorytype type = kMemoryDevice;
  uint64_t address = 0;
  uint64_t start = 0;
  uint64_t bytes = 0;
  Context* context = nullptr;
  int device = 0;
  bool managed = false;
  bool ipc = false;
  int handle_types = 0;
  Pool* pool = nullptr;
};

template <class T>
CUresult give(void* out, T value) {
  *static_cast<T*>(out) = value;
  return CUDA_SUCCESS;
}

CUresult read(void* out, int attribute, const Pointer& p) {
  const bool is_host = p.type == kMemoryHost;
  switch (attribute) {
    case kContext:
      return p.context == nullptr ? CUDA_ERROR_INVALID_VALUE
                                  : give(out, reinterpret_cast<CUcontext>(p.context));
    case kMemoryType:
      return give(out, p.type);
    case kDevicePointer:
      return give<CUdeviceptr>(out, p.address);
    case kHostPointer:
      // NOLINTNEXTLINE(performance-no-int-to-ptr)
      return is_host || p.managed ? give(out, reinterpret_cast<void*>(p.address)) : CUDA_ERROR_INVALID_VALUE;
    case kBufferId:
      return give<unsigned long long>(out, p.start);
    case kIsManaged:
      return give<int>(out, p.managed ? 1 : 0);
    case kDeviceOrdinal:
      return give<int>(out, p.device);
    case kIpcCapable:
      return give<int>(out, p.ipc ? 1 : 0);
    case kRangeStart:
    case kMappingBase:
      return give<CUdeviceptr>(out, p.start);
    case kRangeSize:
    case kMappingSize:
      return give<size_t>(out, p.bytes);
    case kMapped:
      return give<int>(out, 1);
    case kHandleTypes:
      return give<unsigned long long>(out, static_cast<unsigned long long>(p.handle_types));
    case kAccessFlags:
      return give<int>(out, kAccessReadWrite);
    case kPoolHandle:
      return give(out, handle_of(p.pool));
    default:
      return CUDA_ERROR_INVALID_VALUE;
  }
}

bool describe_device(Driver& driver, DeviceMemory& memory, uint64_t address, Pointer& p) {
  const auto range = memory.find(address);
  if (!range) return false;
  const MemoryKind kind = range->owner.kind;
  p.start = range->address;
  p.bytes = range->bytes;
  p.context = const_cast<Context*>(static_cast<const Context*>(range->owner.context));
  p.ipc = kind == MemoryKind::Linear;
  p.pool = range->owner.pool;
  for (int i = 0; i < driver.device_count(); ++i) {
    if (driver.device(i)->known.load() == &memory) p.device = i;
  }
  if (kind == MemoryKind::Reserved) {
    return describe_mapping(address, p.device, p.start, p.bytes, p.handle_types);
  }
  return kind != MemoryKind::Physical;
}

bool describe_host(const std::unordered_map<const void*, size_t>& ranges, uint64_t address, Pointer& p) {
  for (const auto& [start, bytes] : ranges) {
    if (address - reinterpret_cast<uint64_t>(start) >= bytes) continue;
    p.type = kMemoryHost;
    p.start = reinterpret_cast<uint64_t>(start);
    p.bytes = bytes;
    return true;
  }
  return false;
}

bool describe(Driver& driver, uint64_t address, Pointer& p) {
  p.address = address;
  if (DeviceMemory* memory = driver.find_memory(address)) return describe_device(driver, *memory, address, p);
  std::lock_guard guard(driver.mutex);
  if (const auto found = driver.find_managed(address); found != driver.managed.end()) {
    p.managed = true;
    p.start = found->first;
    p.bytes = found->second.bytes;
    p.context = found->second.context;
    p.device = p.context->device;
    return true;
  }
  return describe_host(driver.host_allocations, address, p) ||
         describe_host(driver.host_registrations, address, p);
}

}  // namespace

CUresult cuPointerGetAttribute(void* out, int attribute, CUdeviceptr address) {
  TW_DRIVER(driver);
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  Pointer pointer;
  return describe(*driver, address, pointer) ? read(out, attribute, pointer) : CUDA_ERROR_INVALID_VALUE;
}

// Unlike the single form, an attribute that does not apply is zeroed and is no error.
CUresult cuPointerGetAttributes(unsigned count, int* attributes, void** data, CUdeviceptr address) {
  TW_DRIVER(driver);
  if (attributes == nullptr || data == nullptr) return CUDA_ERROR_INVALID_VALUE;
  for (unsigned i = 0; i < count; ++i) {
    if (cuPointerGetAttribute(data[i], attributes[i], address) == CUDA_SUCCESS) continue;
    const int a = attributes[i];
    const bool is_word = a == kContext || a == kDevicePointer || a == kHostPointer || a == kBufferId ||
                         a == kRangeStart || a == kRangeSize || a == kHandleTypes || a == kPoolHandle ||
                         a == kMappingSize || a == kMappingBase;
    if (is_word) {
      give<uint64_t>(data[i], 0);
    } else {
      give<int>(data[i], attributes[i] == kDeviceOrdinal ? -2 : 0);
    }
  }
  return CUDA_SUCCESS;
}

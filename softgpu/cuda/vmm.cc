// Virtual memory management: addresses are reserved, memory is created, and one is mapped to the other.
//
// Created memory is charged from cuMemCreate on until its last handle is released and its last mapping gone.
// Memory that can be exported has a file of its own, which is what is handed over; who imports it pays
// nothing.
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <map>
#include <unordered_map>

#include "softgpu/cuda/api.h"
#include "softgpu/cuda/driver.h"
#include "softgpu/cuda/tiles.h"

using namespace tweendeck::softgpu;

namespace {

struct Created {
  CUmemAllocationProp props{};
  int device = 0;
  uint64_t bytes = 0;
  unsigned handles = 1;
  unsigned mappings = 0;
  bool imported = false;
  int file = -1;         // its own; -1: part of the card's
  uint64_t address = 0;  // in the card's file
};

struct Mapping {
  Created* created;
  uint64_t bytes;
  int flags;  // kAccess...
};

struct State {
  std::mutex mutex;
  std::unordered_map<uint64_t, std::unique_ptr<Created>> created;  // by handle
  std::map<CUdeviceptr, Mapping> mappings;
};

State& state() {
  static auto* all = new State;  // never destroyed: other threads may be in a call at exit
  return *all;
}

bool is_aligned(uint64_t value) {
  return value % kMappingGranularity == 0;
}

uint64_t handle_of(const Created& created) {
  return reinterpret_cast<uint64_t>(&created);
}

// All below: the mutex is held.
Created* find(CUmemGenericAllocationHandle handle) {
  const auto found = state().created.find(handle);
  return found == state().created.end() || found->second->handles == 0 ? nullptr : found->second.get();
}

void drop_unused(Created& created) {
  if (created.handles > 0 || created.mappings > 0) return;
  Driver& driver = *Driver::get();
  if (created.file >= 0) {
    close(created.file);
  } else {
    driver.memory_of(created.device)->free(created.address);
  }
  if (!created.imported) driver.client().release(driver.device(created.device)->card, created.bytes);
  state().created.erase(handle_of(created));
}

// Calls `use(address, mapping)` for the mappings that make up exactly [address, address + bytes).
template <class Use>
CUresult for_each(CUdeviceptr address, size_t bytes, Use use) {
  auto& mappings = state().mappings;
  const CUdeviceptr end = address + bytes;
  CUdeviceptr at = address;
  for (auto found = mappings.find(address); at < end; at += found->second.bytes, ++found) {
    if (found == mappings.end() || found->first != at || found->second.bytes > end - at) {
      return CUDA_ERROR_INVALID_VALUE;
    }
  }
  for (at = address; at < end;) {
    const auto found = mappings.find(at);
    at += found->second.bytes;
    use(found);
  }
  return CUDA_SUCCESS;
}

CUresult check_props(const CUmemAllocationProp* props) {
  TW_DRIVER(driver);
  if (props == nullptr || props->type != kAllocationPinned) return CUDA_ERROR_INVALID_VALUE;
  if (props->location.type != kLocationDevice) return CUDA_ERROR_NOT_SUPPORTED;  // host memory
  if (driver->device(props->location.id) == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  if ((props->handle_types & ~kHandleFileDescriptor) != 0) return CUDA_ERROR_NOT_SUPPORTED;
  return CUDA_SUCCESS;
}

int make_file(uint64_t bytes) {
  const int file = memfd_create("softgpu-shareable", MFD_CLOEXEC);
  if (file >= 0 && ftruncate(file, static_cast<off_t>(bytes)) != 0) {
    close(file);
    return -1;
  }
  return file;
}

// The mapping that holds `address`, or the end.
std::map<CUdeviceptr, Mapping>::iterator holder(CUdeviceptr address) {
  const auto next = state().mappings.upper_bound(address);
  if (next == state().mappings.begin()) return state().mappings.end();
  const auto found = std::prev(next);
  return address - found->first < found->second.bytes ? found : state().mappings.end();
}

CUmemGenericAllocationHandle add(std::unique_ptr<Created> created) {
  std::lock_guard guard(state().mutex);
  const uint64_t handle = handle_of(*created);
  state().created.emplace(handle, std::move(created));
  return handle;
}

}  // namespace

namespace tweendeck::softgpu {

bool describe_mapping(CUdeviceptr address, int& device, uint64_t& start, uint64_t& bytes, int& handle_types) {
  std::lock_guard guard(state().mutex);
  const auto found = holder(address);
  if (found == state().mappings.end()) return false;
  device = found->second.created->device;
  start = found->first;
  bytes = found->second.bytes;
  handle_types = found->second.created->props.handle_types;
  return true;
}

}  // namespace tweendeck::softgpu

CUresult cuMemGetAllocationGranularity(size_t* granularity, const CUmemAllocationProp* props, int) {
  if (granularity == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (CUresult error = check_props(props); error != CUDA_SUCCESS) return error;
  *granularity = kMappingGranularity;
  return CUDA_SUCCESS;
}

CUresult cuMemAddressReserve(CUdeviceptr* out, size_t bytes, size_t alignment, CUdeviceptr,
                             unsigned long long flags) {
  TW_DRIVER(driver);
  const bool power_of_two = (alignment & (alignment - 1)) == 0;
  if (out == nullptr || bytes == 0 || !is_aligned(bytes) || !power_of_two || flags != 0) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  // Addresses are of no card; the first one's window has them. The wish for a fixed address is a hint only.
  DeviceMemory* memory = driver->memory_of(0);
  if (memory == nullptr) return CUDA_ERROR_OUT_OF_MEMORY;
  *out = memory->allocate(bytes, {MemoryKind::Reserved, nullptr, nullptr, nullptr},
                          std::max<uint64_t>(alignment, kMappingGranularity));
  return *out == 0 ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_SUCCESS;
}

CUresult cuMemAddressFree(CUdeviceptr address, size_t bytes) {
  TW_DRIVER(driver);
  DeviceMemory* memory = driver->find_memory(address);
  std::lock_guard guard(state().mutex);
  const auto range = memory == nullptr ? std::nullopt : memory->find(address);
  if (!range || range->owner.kind != MemoryKind::Reserved || range->address != address ||
      range->bytes != bytes) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  const auto mapped = state().mappings.lower_bound(address);
  if (mapped != state().mappings.end() && mapped->first < address + bytes) return CUDA_ERROR_INVALID_VALUE;
  memory->free(address);
  return CUDA_SUCCESS;
}

CUresult cuMemCreate(CUmemGenericAllocationHandle* out, size_t bytes, const CUmemAllocationProp* props,
                     unsigned long long flags) {
  TW_DRIVER(driver);
  if (CUresult error = check_props(props); error != CUDA_SUCCESS) return error;
  if (out == nullptr || bytes == 0 || !is_aligned(bytes) || flags != 0) return CUDA_ERROR_INVALID_VALUE;
  const int device = props->location.id;
  const uint32_t card = driver->device(device)->card;
  DeviceMemory* memory = driver->memory_of(device);
  if (memory == nullptr || bytes > driver->info(device).memory_bytes) return CUDA_ERROR_OUT_OF_MEMORY;
  if (!driver->client().reserve(card, bytes)) return CUDA_ERROR_OUT_OF_MEMORY;
  auto created = std::make_unique<Created>();
  created->props = *props;
  created->device = device;
  created->bytes = bytes;
  if ((props->handle_types & kHandleFileDescriptor) != 0) {
    created->file = make_file(bytes);
  } else {
    created->address =
        memory->allocate(bytes, {MemoryKind::Physical, nullptr, nullptr, nullptr}, kMappingGranularity);
  }
  if (created->file < 0 && created->address == 0) {
    driver->client().release(card, bytes);
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  *out = add(std::move(created));
  return CUDA_SUCCESS;
}

namespace tweendeck::softgpu {

bool hold_created(CUmemGenericAllocationHandle handle) {
  std::lock_guard guard(state().mutex);
  Created* created = find(handle);
  if (created != nullptr) ++created->mappings;
  return created != nullptr;
}

void drop_created(CUmemGenericAllocationHandle handle) {
  std::lock_guard guard(state().mutex);
  Created& created = *state().created.at(handle);
  --created.mappings;
  drop_unused(created);
}

}  // namespace tweendeck::softgpu

CUresult cuMemRelease(CUmemGenericAllocationHandle handle) {
  TW_DRIVER(driver);
  std::lock_guard guard(state().mutex);
  Created* created = find(handle);
  if (created == nullptr) return CUDA_ERROR_INVALID_VALUE;
  --created->handles;
  drop_unused(*created);
  return CUDA_SUCCESS;
}

CUresult cuMemMap(CUdeviceptr address, size_t bytes, size_t offset, CUmemGenericAllocationHandle handle,
                  unsigned long long flags) {
  TW_DRIVER(driver);
  DeviceMemory* memory = driver->find_memory(address);
  std::lock_guard guard(state().mutex);
  Created* created = find(handle);
  const auto range = memory == nullptr ? std::nullopt : memory->find(address);
  if (created == nullptr || flags != 0 || bytes == 0 || offset != 0 || bytes > created->bytes ||
      !is_aligned(address) || !is_aligned(bytes) || !range || range->owner.kind != MemoryKind::Reserved ||
      bytes > range->address + range->bytes - address) {
    return CUDA_ERROR_INVALID_VALUE;  // the driver, too, maps from the start only
  }
  const auto next = state().mappings.lower_bound(address);
  const bool overlaps =
      (next != state().mappings.end() && next->first < address + bytes) ||
      (next != state().mappings.begin() && std::prev(next)->first + std::prev(next)->second.bytes > address);
  if (overlaps) return CUDA_ERROR_INVALID_VALUE;
  DeviceMemory& home = *driver->memory_of(created->device);
  const bool mapped = created->file >= 0
                          ? memory->map(address, bytes, created->file, 0)
                          : memory->map(address, bytes, home.file(), home.offset_of(created->address));
  if (!mapped) return CUDA_ERROR_OUT_OF_MEMORY;
  ++created->mappings;
  state().mappings[address] = {created, bytes, kAccessNone};
  return CUDA_SUCCESS;
}

CUresult cuMemUnmap(CUdeviceptr address, size_t bytes) {
  TW_DRIVER(driver);
  DeviceMemory* memory = driver->find_memory(address);
  if (memory == nullptr || bytes == 0) return CUDA_ERROR_INVALID_VALUE;
  std::lock_guard guard(state().mutex);
  return for_each(address, bytes, [&](auto found) {
    const auto [at, mapping] = *found;
    memory->unmap(at, mapping.bytes);
    state().mappings.erase(found);
    --mapping.created->mappings;
    drop_unused(*mapping.created);
  });
}

CUresult cuMemSetAccess(CUdeviceptr address, size_t bytes, const CUmemAccessDesc* access, size_t count) {
  TW_DRIVER(driver);
  DeviceMemory* memory = driver->find_memory(address);
  if (memory == nullptr || access == nullptr || count == 0 || bytes == 0) return CUDA_ERROR_INVALID_VALUE;
  for (size_t i = 0; i < count; ++i) {
    const auto& [location, flags] = access[i];
    const bool known = flags == kAccessNone || flags == kAccessRead || flags == kAccessReadWrite;
    if (!known || location.type != kLocationDevice) return CUDA_ERROR_INVALID_VALUE;
    if (driver->device(location.id) == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  }
  std::lock_guard guard(state().mutex);
  return for_each(address, bytes, [&](auto found) {
    for (size_t i = 0; i < count; ++i) {
      // Copies are the host's here, so what counts is the card that the memory is on.
      if (access[i].location.id != found->second.created->device) continue;
      found->second.flags = access[i].flags;
      memory->set_usable(found->first, found->second.bytes, access[i].flags != kAccessNone);
    }
  });
}

CUresult cuMemGetAccess(unsigned long long* flags, const CUmemLocation* location, CUdeviceptr address) {
  TW_DRIVER(driver);
  if (flags == nullptr || location == nullptr) return CUDA_ERROR_INVALID_VALUE;
  std::lock_guard guard(state().mutex);
  const auto found = holder(address);
  if (found == state().mappings.end()) return CUDA_ERROR_INVALID_VALUE;
  const Mapping& mapping = found->second;
  *flags =
      static_cast<unsigned long long>(location->id == mapping.created->device ? mapping.flags : kAccessNone);
  return CUDA_SUCCESS;
}

CUresult cuMemGetAllocationPropertiesFromHandle(CUmemAllocationProp* props,
                                                CUmemGenericAllocationHandle handle) {
  TW_DRIVER(driver);
  std::lock_guard guard(state().mutex);
  const Created* created = find(handle);
  if (created == nullptr || props == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *props = created->props;
  return CUDA_SUCCESS;
}

CUresult cuMemRetainAllocationHandle(CUmemGenericAllocationHandle* out, void* pointer) {
  TW_DRIVER(driver);
  const auto address = reinterpret_cast<CUdeviceptr>(pointer);
  std::lock_guard guard(state().mutex);
  const auto found = holder(address);
  if (out == nullptr || found == state().mappings.end()) return CUDA_ERROR_INVALID_VALUE;
  ++found->second.created->handles;
  *out = handle_of(*found->second.created);
  return CUDA_SUCCESS;
}

CUresult cuMemExportToShareableHandle(void* out, CUmemGenericAllocationHandle handle, int type,
                                      unsigned long long flags) {
  TW_DRIVER(driver);
  std::lock_guard guard(state().mutex);
  const Created* created = find(handle);
  if (out == nullptr || created == nullptr || flags != 0) return CUDA_ERROR_INVALID_VALUE;
  if (type != kHandleFileDescriptor || created->file < 0) return CUDA_ERROR_NOT_SUPPORTED;
  const int file = fcntl(created->file, F_DUPFD_CLOEXEC, 0);
  if (file < 0) return CUDA_ERROR_OPERATING_SYSTEM;
  *static_cast<int*>(out) = file;
  return CUDA_SUCCESS;
}

// The descriptor is the caller's: it can be closed afterwards, and imported again.
CUresult cuMemImportFromShareableHandle(CUmemGenericAllocationHandle* out, void* os_handle, int type) {
  TW_DRIVER(driver);
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (type != kHandleFileDescriptor) return CUDA_ERROR_NOT_SUPPORTED;
  const int file = fcntl(static_cast<int>(reinterpret_cast<intptr_t>(os_handle)), F_DUPFD_CLOEXEC, 0);
  struct stat status{};
  const bool usable = file >= 0 && fstat(file, &status) == 0 && status.st_size > 0 &&
                      is_aligned(static_cast<uint64_t>(status.st_size));
  if (!usable) {
    if (file >= 0) close(file);
    return CUDA_ERROR_INVALID_VALUE;
  }
  const Context* context = current_context();
  auto created = std::make_unique<Created>();
  created->device = context == nullptr ? 0 : context->device;
  created->props.type = kAllocationPinned;
  created->props.handle_types = kHandleFileDescriptor;
  created->props.location = {kLocationDevice, created->device};
  created->bytes = static_cast<uint64_t>(status.st_size);
  created->imported = true;
  created->file = file;
  *out = add(std::move(created));
  return CUDA_SUCCESS;
}

#include "softgpu/cuda/graph_memory.h"

#include <algorithm>
#include <map>
#include <mutex>

#include "softgpu/cuda/api.h"
#include "softgpu/cuda/driver.h"

using namespace tweendeck::softgpu;

namespace tweendeck::softgpu {
namespace {

struct Usage {
  uint64_t used = 0;
  uint64_t used_high = 0;
  uint64_t reserved = 0;
  uint64_t reserved_high = 0;
};

struct GraphMemory {
  std::recursive_mutex mutex;  // the last reference to an allocation may go while it is held
  std::map<CUdeviceptr, GraphAllocation*> all;
  std::map<CUdeviceptr, std::shared_ptr<GraphAllocation>>
      allocated;  // stays until freed, with or without a graph
  std::map<int, Usage> usage;
};

GraphMemory& state() {
  static auto* memory = new GraphMemory;  // never destroyed: other threads may be in a call at exit
  return *memory;
}

void uncharge(GraphAllocation& allocation) {
  if (!allocation.charged || allocation.allocated) return;
  Driver& driver = *Driver::get();
  driver.client().release(driver.device(allocation.device)->card, allocation.charge);
  state().usage[allocation.device].reserved -= allocation.charge;
  allocation.charged = false;
}

}  // namespace

std::shared_ptr<GraphAllocation> make_graph_allocation(int device, uint64_t bytes) {
  DeviceMemory* memory = Driver::get()->memory_of(device);
  auto allocation = std::make_shared<GraphAllocation>();
  allocation->device = device;
  allocation->bytes = bytes;
  allocation->charge = DeviceMemory::charge_for(bytes);
  if (memory == nullptr) return nullptr;
  allocation->address = memory->allocate(bytes, {MemoryKind::Graph, nullptr, nullptr, allocation.get()});
  if (allocation->address == 0) return nullptr;
  std::lock_guard guard(state().mutex);
  state().all[allocation->address] = allocation.get();
  return allocation;
}

GraphAllocation::~GraphAllocation() {
  if (address == 0 || Driver::get() == nullptr) return;
  std::lock_guard guard(state().mutex);
  uncharge(*this);
  state().all.erase(address);
  Driver::get()->memory_of(device)->free(address);
}

CUresult allocate(const std::shared_ptr<GraphAllocation>& allocation, bool again) {
  Driver& driver = *Driver::get();
  std::lock_guard guard(state().mutex);
  if (allocation->allocated) return again ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
  Usage& usage = state().usage[allocation->device];
  if (!allocation->charged) {
    if (!driver.client().reserve(driver.device(allocation->device)->card, allocation->charge)) {
      return CUDA_ERROR_OUT_OF_MEMORY;
    }
    allocation->charged = true;
    usage.reserved += allocation->charge;
    usage.reserved_high = std::max(usage.reserved_high, usage.reserved);
  }
  allocation->allocated = true;
  usage.used += allocation->charge;
  usage.used_high = std::max(usage.used_high, usage.used);
  state().allocated[allocation->address] = allocation;
  driver.memory_of(allocation->device)->set_usable(allocation->address, allocation->bytes, true);
  return CUDA_SUCCESS;
}

bool free_graph_allocation(CUdeviceptr address) {
  std::lock_guard guard(state().mutex);
  const auto found = state().allocated.find(address);
  if (found == state().allocated.end()) return false;
  const auto allocation = found->second;
  state().allocated.erase(found);
  allocation->allocated = false;
  state().usage[allocation->device].used -= allocation->charge;
  Driver::get()->memory_of(allocation->device)->set_usable(address, allocation->bytes, false);
  return true;
}

void trim_graph_memory(int device) {
  std::lock_guard guard(state().mutex);
  for (const auto& [address, allocation] : state().all) {
    if (allocation->device == device) uncharge(*allocation);
  }
}

}  // namespace tweendeck::softgpu

namespace {

uint64_t* attribute_of(Usage& usage, int attribute) {
  uint64_t* const values[] = {&usage.used, &usage.used_high, &usage.reserved, &usage.reserved_high};
  return attribute < 0 || attribute > 3 ? nullptr : values[attribute];
}

}  // namespace

CUresult cuDeviceGraphMemTrim(CUdevice device) {
  TW_DRIVER(driver);
  if (driver->device(device) == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  trim_graph_memory(device);
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetGraphMemAttribute(CUdevice device, int attribute, void* value) {
  TW_DRIVER(driver);
  if (driver->device(device) == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  std::lock_guard guard(state().mutex);
  const uint64_t* found = attribute_of(state().usage[device], attribute);
  if (found == nullptr || value == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *static_cast<uint64_t*>(value) = *found;
  return CUDA_SUCCESS;
}

// Only the high-water marks can be set, and only to 0.
CUresult cuDeviceSetGraphMemAttribute(CUdevice device, int attribute, void* value) {
  TW_DRIVER(driver);
  if (driver->device(device) == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  if (value == nullptr || *static_cast<uint64_t*>(value) != 0 || (attribute != 1 && attribute != 3)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  std::lock_guard guard(state().mutex);
  Usage& usage = state().usage[device];
  *attribute_of(usage, attribute) = *attribute_of(usage, attribute - 1);
  return CUDA_SUCCESS;
}

// NVML views: inside a slice a device looks as large and as full as the slice is.
#include "vgpu/preload/abi.h"
#include "vgpu/preload/calls.h"
#include "vgpu/preload/tenant.h"

using namespace tweendeck::vgpu;

namespace {

nvmlReturn_t on_nvmlDeviceGetMemoryInfo(auto* ask, nvmlDevice_t handle, nvmlMemory_t* memory) {
  const nvmlReturn_t result = ask(handle, memory);
  if (result != NVML_SUCCESS) return result;
  if (const int device = page_device(handle); device >= 0) {
    uint64_t free = memory->free, total = memory->total;
    show_slice(static_cast<uint32_t>(device), free, total);
    *memory = {total, free, total - free};
  }
  return result;
}

nvmlReturn_t on_nvmlDeviceGetMemoryInfo_v2(auto* ask, nvmlDevice_t handle, nvmlMemory_v2_t* memory) {
  const nvmlReturn_t result = ask(handle, memory);
  if (result != NVML_SUCCESS) return result;
  if (const int device = page_device(handle); device >= 0) {
    uint64_t free = memory->free, total = memory->total;
    show_slice(static_cast<uint32_t>(device), free, total);
    *memory = {memory->version, total, 0, free, total - free};
  }
  return result;
}

}  // namespace

#include "wrappers_nvml.inc"

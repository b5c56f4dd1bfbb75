// Memory of other processes. A handle says where the exporter's bytes are; opening it maps them here. The
// exporter pays; who opens it pays nothing. It is readable for as long as the exporter has not freed it.
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <map>

#include "softgpu/cuda/api.h"
#include "softgpu/cuda/driver.h"

using namespace tweendeck::softgpu;

namespace {

constexpr uint64_t kHandleMagic = 0x4370494770666f53;  // "SofpGIpC"
constexpr uint64_t kPageBytes = 4096;

struct Handle {
  uint64_t magic;
  uint64_t pid;
  int32_t file;
  uint32_t card;
  uint64_t offset;
  uint64_t bytes;
};
static_assert(sizeof(Handle) <= sizeof(CUipcMemHandle));

struct Opened {
  CUdeviceptr start;  // of the whole pages that were mapped
  uint64_t mapped;
  Context* context;
  unsigned references;
  Handle handle;
};

struct State {
  std::mutex mutex;
  std::map<CUdeviceptr, Opened> opened;
};

State& state() {
  static auto* all = new State;  // never destroyed: other threads may be in a call at exit
  return *all;
}

bool is_same(const Handle& a, const Handle& b) {
  return a.pid == b.pid && a.file == b.file && a.offset == b.offset && a.bytes == b.bytes;
}

int ordinal_of(Driver& driver, uint32_t card) {
  for (int i = 0; i < driver.device_count(); ++i) {
    if (driver.device(i)->card == card) return i;
  }
  return -1;
}

void close_mapping(CUdeviceptr address, const Opened& opened) {
  DeviceMemory* memory = Driver::get()->find_memory(address);
  memory->unmap(opened.start, opened.mapped);
  memory->free(opened.start);
}

CUresult open_handle(CUdeviceptr* out, const CUipcMemHandle& raw, unsigned flags) {
  constexpr unsigned kLazyPeerAccess = 1;
  TW_DRIVER(driver);
  TW_CONTEXT(context);
  Handle handle;
  memcpy(&handle, raw.bytes, sizeof handle);
  if (out == nullptr || flags != kLazyPeerAccess || handle.magic != kHandleMagic)
    return CUDA_ERROR_INVALID_VALUE;
  if (handle.pid == static_cast<uint64_t>(getpid())) return CUDA_ERROR_INVALID_CONTEXT;  // as the driver does
  if (ordinal_of(*driver, handle.card) < 0) return CUDA_ERROR_INVALID_DEVICE;
  std::lock_guard guard(state().mutex);
  for (auto& [address, opened] : state().opened) {
    if (!is_same(opened.handle, handle) || opened.context != context) continue;
    ++opened.references;
    *out = address;
    return CUDA_SUCCESS;
  }
  char path[64];
  snprintf(path, sizeof path, "/proc/%llu/fd/%d", static_cast<unsigned long long>(handle.pid), handle.file);
  const int file = open(path, O_RDWR | O_CLOEXEC);
  if (file < 0) return CUDA_ERROR_INVALID_HANDLE;  // the exporter is gone, or not visible from here
  const uint64_t first = handle.offset / kPageBytes * kPageBytes;
  const uint64_t last = (handle.offset + handle.bytes + kPageBytes - 1) / kPageBytes * kPageBytes;
  DeviceMemory* memory = driver->memory_of(context->device);
  const CUdeviceptr start =
      memory->allocate(last - first, {MemoryKind::Imported, context, nullptr, nullptr}, kMappingGranularity);
  const bool mapped = start != 0 && memory->map(start, last - first, file, first);
  close(file);
  if (!mapped) {
    if (start != 0) memory->free(start);
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  *out = start + (handle.offset - first);
  memory->set_usable(*out, handle.bytes, true);
  state().opened[*out] = {start, last - first, context, 1, handle};
  return CUDA_SUCCESS;
}

}  // namespace

namespace tweendeck::softgpu {

void close_imports(const Context& context) {
  std::lock_guard guard(state().mutex);
  std::erase_if(state().opened, [&](const auto& entry) {
    if (entry.second.context != &context) return false;
    close_mapping(entry.first, entry.second);
    return true;
  });
}

}  // namespace tweendeck::softgpu

CUresult cuIpcGetMemHandle(CUipcMemHandle* out, CUdeviceptr address) {
  TW_DRIVER(driver);
  DeviceMemory* memory = driver->find_memory(address);
  const auto range = memory == nullptr ? std::nullopt : memory->find(address);
  if (out == nullptr || !range || range->owner.kind != MemoryKind::Linear) return CUDA_ERROR_INVALID_VALUE;
  const auto* context = static_cast<const Context*>(range->owner.context);
  const Handle handle{kHandleMagic,
                      static_cast<uint64_t>(getpid()),
                      memory->file(),
                      driver->device(context->device)->card,
                      memory->offset_of(range->address),
                      range->bytes};
  // It is about to be written by others, so its pages go back when it is freed.
  (void)memory->host(range->address, range->bytes);
  *out = {};
  memcpy(out->bytes, &handle, sizeof handle);
  return CUDA_SUCCESS;
}

CUresult cuIpcOpenMemHandle_v2(CUdeviceptr* out, CUipcMemHandle handle, unsigned flags) {
  return open_handle(out, handle, flags);
}
CUresult cuIpcOpenMemHandle(CUdeviceptr* out, CUipcMemHandle handle, unsigned flags) {
  return open_handle(out, handle, flags);
}

CUresult cuIpcCloseMemHandle(CUdeviceptr address) {
  TW_DRIVER(driver);
  std::lock_guard guard(state().mutex);
  const auto found = state().opened.find(address);
  if (found == state().opened.end()) return CUDA_ERROR_INVALID_VALUE;
  if (--found->second.references > 0) return CUDA_SUCCESS;
  close_mapping(found->first, found->second);
  state().opened.erase(found);
  return CUDA_SUCCESS;
}

#include "vgpu/preload/footprint.h"

#include <stddef.h>
#include <string.h>
#include <unistd.h>

#include "vgpu/preload/calls.h"
#include "vgpu/preload/charge.h"
#include "vgpu/preload/lock.h"
#include "vgpu/preload/tenant.h"

namespace tweendeck::vgpu {
namespace {

constexpr unsigned kMostProcesses = 1024;  // that NVML lists on one device
constexpr size_t kUuidText = 41;

enum Trust : uint8_t { kUntold, kOwnPid, kForeignPid };

constinit Lock g_lock;
nvmlDevice_t g_handles[TW_VGPU_MAX_DEVICES];
Trust g_trust[TW_VGPU_MAX_DEVICES];  // whether NVML's process of our pid is this one
nvmlProcessInfo_t g_listed[kMostProcesses];

template <class F>
F* nvml(const char* symbol) {
  return reinterpret_cast<F*>(nvml_symbol(symbol));
}

// As NVML writes it: GPU-xxxxxxxx-xxxx-xxxx-xxxx-xxxxxxxxxxxx.
void write_uuid(const uint8_t (&uuid)[16], char (&text)[kUuidText]) {
  constexpr char kDigits[] = "0123456789abcdef";
  size_t at = 3;
  memcpy(text, "GPU", at);
  for (size_t i = 0; i < sizeof(uuid); ++i) {
    if (i == 0 || i == 4 || i == 6 || i == 8 || i == 10) text[at++] = '-';
    text[at++] = kDigits[uuid[i] >> 4];
    text[at++] = kDigits[uuid[i] & 15];
  }
  text[at] = 0;
}

nvmlDevice_t handle_of(int device) {
  static auto* const init = nvml<nvmlReturn_t()>("nvmlInit_v2");
  static auto* const by_uuid = nvml<nvmlReturn_t(const char*, nvmlDevice_t*)>("nvmlDeviceGetHandleByUUID");
  nvmlDevice_t& handle = g_handles[device];
  if (handle || !init || !by_uuid || init() != NVML_SUCCESS) return handle;
  char text[kUuidText];
  write_uuid(device_limit(static_cast<uint32_t>(device), nullptr).uuid, text);
  if (by_uuid(text, &handle) != NVML_SUCCESS) handle = nullptr;
  return handle;
}

// What NVML reports for the process of our pid; false = it shows none.
bool own_process(int device, uint64_t& bytes) {
  static auto* const list = nvml<nvmlReturn_t(nvmlDevice_t, unsigned*, nvmlProcessInfo_t*)>(
      "nvmlDeviceGetComputeRunningProcesses_v3");
  const nvmlDevice_t handle = handle_of(device);
  unsigned count = kMostProcesses;
  if (!handle || !list || list(handle, &count, g_listed) != NVML_SUCCESS) return false;
  const auto pid = static_cast<unsigned>(getpid());
  for (unsigned i = 0; i < count && i < kMostProcesses; ++i) {
    constexpr unsigned long long kNotAvailable = ~0ull;
    if (g_listed[i].pid != pid || g_listed[i].memory_bytes == kNotAvailable) continue;
    bytes = g_listed[i].memory_bytes;
    return true;
  }
  return false;
}

uint64_t used_on(int device) {
  auto* const info = real<nvmlReturn_t(nvmlDevice_t, nvmlMemory_t*)>(kCall_nvmlDeviceGetMemoryInfo);
  const nvmlDevice_t handle = handle_of(device);
  nvmlMemory_t memory = {};
  return handle && info && info(handle, &memory) == NVML_SUCCESS ? memory.used : 0;
}

uint64_t used_by_slice(int device) {
  uint64_t used = 0;
  tw_vgpu_memory_claimed(usage(), static_cast<uint32_t>(device), &used);
  return used;
}

const tw_vgpu_book& own_book(int device) {
  return usage()->books[device][books().slot()];
}

uint64_t grown(uint64_t now, uint64_t before) {
  return now > before ? now - before : 0;
}

}  // namespace

Footprint::Footprint(int device) : device_(device) {
  if (device < 0) return;
  const Locked locked(g_lock);
  uint64_t bytes = 0;
  own_known_ = own_process(device, bytes);
  if (g_trust[device] == kOwnPid) return;
  device_used_ = used_on(device);
  slice_used_ = used_by_slice(device);
}

uint64_t Footprint::growth(tw_vgpu_kind kind) const {
  uint64_t bytes = 0;
  const bool shown = own_process(device_, bytes);
  // Who was there before this process used the device is somebody else, of another pid namespace.
  if (g_trust[device_] == kUntold && (own_known_ || shown))
    g_trust[device_] = own_known_ ? kForeignPid : kOwnPid;
  if (g_trust[device_] == kOwnPid) {
    return shown ? grown(bytes, tw_vgpu_load(&own_book(device_).used_bytes)) : 0;
  }
  const uint64_t others = grown(used_by_slice(device_), slice_used_);
  const uint64_t mine = grown(grown(used_on(device_), device_used_), others);
  const uint64_t most = kind == TW_VGPU_KIND_CONTEXT ? kMostOfContext : kMostOfCode;
  return device_used_ == 0 || mine < most ? mine : most;
}

CUresult Footprint::charge(uint64_t key, uint64_t context, tw_vgpu_kind kind) {
  if (device_ < 0) return CUDA_SUCCESS;
  const Locked locked(g_lock);
  const uint64_t bytes = growth(kind);
  if (bytes == 0) return CUDA_SUCCESS;
  const CUresult granted = reserve(device_, bytes, kind);
  if (granted != CUDA_SUCCESS) return granted;
  add_to_charge(key, context, device_, bytes, kind);
  return CUDA_SUCCESS;
}

void forget_footprints() {
  g_lock = {};
  for (Trust& trust : g_trust) trust = kUntold;
}

}  // namespace tweendeck::vgpu

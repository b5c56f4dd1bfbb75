#include "vgpu/preload/tenant.h"

#include <sched.h>
#include <string.h>

#include "vgpu/hami.h"
#include "vgpu/preload/calls.h"
#include "vgpu/preload/footprint.h"
#include "vgpu/preload/graph_memory.h"
#include "vgpu/preload/heaps.h"
#include "vgpu/preload/pages.h"
#include "vgpu/preload/pools.h"
#include "vgpu/preload/throttle.h"
#include "vgpu/preload/tiles.h"
#include "vgpu/preload/virtual.h"

// What pthread_atfork calls, weak: a C library that has it not is refused with a reason (loader.cc).
extern "C" int __register_atfork(void (*)(), void (*)(), void (*)(), void*) __attribute__((weak));
extern "C" void* __dso_handle __attribute__((visibility("hidden")));

namespace tweendeck::vgpu {

constinit Books g_books(kLinux);
constinit Allocations g_allocations;

namespace {

constexpr int kReadTries = 100;
constexpr int kMaxCudaDevices = 64;
constexpr int8_t kManyDevices = -1;

enum Setup : uint32_t { kUnread, kNamed, kWorking, kDone };

uint32_t g_setup = kUnread;
uint32_t g_attaching;  // 0 idle, 1 a thread of this process is at it

tw_vgpu_usage_page* g_usage;
tw_vgpu_limits_page* g_by_number;        // not null: limits go by the driver's numbering of devices
int8_t g_device_index[kMaxCudaDevices];  // 0 = not asked yet, else index + 2

uint32_t load_setup() {
  return __atomic_load_n(&g_setup, __ATOMIC_ACQUIRE);
}
void store_setup(Setup setup) {
  __atomic_store_n(&g_setup, setup, __ATOMIC_RELEASE);
}

// Inert and Broken are for good; Limited is not attached yet.
void found(Mode mode) {
  __atomic_store_n(&ready::g_mode, static_cast<uint8_t>(mode), __ATOMIC_RELEASE);
  if (mode != Mode::Limited)
    __atomic_store_n(&ready::g_mode_attached, static_cast<uint8_t>(mode), __ATOMIC_RELEASE);
}

Mode map_pages() {
  Pages pages;
  if (!open_pages(pages)) return Mode::Broken;
  ready::g_limits = pages.limits;
  g_usage = pages.usage;
  g_by_number = pages.by_number;
  set_mark_file(pages.usage_path);
  return Mode::Limited;
}

void after_fork_in_child() {
  g_books.forget();
  forget_mark();
  g_allocations.forget();
  forget_launches();
  forget_pools();
  forget_virtual();
  forget_tiles();
  forget_footprints();
  forget_heaps();
  forget_graph_memory();
  if (ready::g_mode_attached == static_cast<uint8_t>(Mode::Limited)) ready::g_mode_attached = ready::kNotYet;
  __atomic_store_n(&g_attaching, 0, __ATOMIC_RELEASE);
  if (load_setup() == kWorking) store_setup(kNamed);
}

__attribute__((constructor)) void set_up() {
  const bool asked = read_environment();
  if (asked) __register_atfork(nullptr, nullptr, after_fork_in_child, __dso_handle);
  if (!asked) found(Mode::Inert);
  store_setup(asked ? kNamed : kDone);
}

int index_of_uuid(const unsigned char (&uuid)[16]) {
  tw_vgpu_limit_set set;
  current_limits(set);
  for (uint32_t i = 0; i < set.device_count && i < TW_VGPU_MAX_DEVICES; ++i) {
    if (memcmp(set.devices[i].uuid, uuid, sizeof(uuid)) == 0) return static_cast<int>(i);
  }
  return kNotInSlice;
}

// HAMi's limits name devices by number; the uuid is how NVML knows the same device.
int number_device(CUdevice device, const CUuuid& uuid) {
  if (device >= TW_VGPU_MAX_DEVICES) return kNotInSlice;
  for (tw_vgpu_limit_set& set : g_by_number->sets) memcpy(set.devices[device].uuid, uuid.bytes, sizeof(uuid));
  return device;
}

// For a process that has not started CUDA: its devices are those that it may see, in order.
int number_by_nvml(nvmlDevice_t device, const char* text) {
  auto* get = reinterpret_cast<nvmlReturn_t (*)(nvmlDevice_t, unsigned*)>(nvml_symbol("nvmlDeviceGetIndex"));
  unsigned index = 0;
  if (!get || get(device, &index) != NVML_SUCCESS) return kNotInSlice;
  return visible_number(visible_devices(), index, text);
}

// The driver's list of devices never changes once it has started.
int8_t find_sole_device() {
  auto* count = reinterpret_cast<CUresult (*)(int*)>(driver_symbol("cuDeviceGetCount"));
  int devices = 0;
  if (!count || count(&devices) != CUDA_SUCCESS) return 0;
  const int index = devices == 1 ? page_device(0) : kNoDevice;
  const auto found = static_cast<int8_t>(index == kNoDevice ? kManyDevices : index + 2);
  __atomic_store_n(&ready::g_sole_device, found, __ATOMIC_RELAXED);
  return found;
}

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  return -1;
}

}  // namespace

namespace ready {

uint8_t g_mode = kNotYet;
uint8_t g_mode_attached = kNotYet;
const tw_vgpu_limits_page* g_limits;
int8_t g_sole_device;
CUresult (*g_current_context)(CUcontext*);

Mode find_mode() {
  while (true) {
    uint32_t setup = load_setup();
    switch (setup) {
      case kUnread:  // another library's constructor runs before ours
        set_up();
        break;
      case kDone:
        return static_cast<Mode>(__atomic_load_n(&g_mode, __ATOMIC_ACQUIRE));
      case kWorking:
        sched_yield();
        break;
      default:  // kNamed
        if (__atomic_compare_exchange_n(&g_setup, &setup, kWorking, false, __ATOMIC_ACQ_REL,
                                        __ATOMIC_ACQUIRE)) {
          found(map_pages());
          store_setup(kDone);
        }
        break;
    }
  }
}

Mode attach() {
  const Mode now = mode();
  if (now != Mode::Limited) return now;
  while (!g_books.attached()) {
    uint32_t idle = 0;
    if (!__atomic_compare_exchange_n(&g_attaching, &idle, 1, false, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
      sched_yield();
      continue;
    }
    const bool done = g_books.attached() || g_books.attach(g_usage);
    __atomic_store_n(&g_attaching, 0, __ATOMIC_RELEASE);
    if (!done) {
      complain("every process slot of the slice is taken", "");
      return Mode::Broken;
    }
  }
  __atomic_store_n(&g_mode_attached, static_cast<uint8_t>(Mode::Limited), __ATOMIC_RELEASE);
  return Mode::Limited;
}

}  // namespace ready

tw_vgpu_usage_page* usage() {
  return g_usage;
}
const tw_vgpu_limits_page* limits_page() {
  return ready::g_limits;
}

void current_limits(tw_vgpu_limit_set& out) {
  uint64_t generation = 0;
  // The writer publishes at human pace; being outrun so often means that the page is not written by it, so
  // nothing is allowed.
  if (!tw_vgpu_read_limits(ready::g_limits, &out, &generation, kReadTries)) out.device_count = 0;
}

tw_vgpu_device_limit device_limit(uint32_t index, uint32_t* set_flags) {
  const tw_vgpu_limits_page* const page = ready::g_limits;
  // Only the entry that is asked for, with the same check as tw_vgpu_read_limits.
  for (int tries = 0; tries < kReadTries; ++tries) {
    const uint64_t generation = tw_vgpu_load(&page->generation);
    const tw_vgpu_limit_set& set = page->sets[generation & 1];
    const tw_vgpu_device_limit limit = set.devices[index];
    if (set_flags) *set_flags = set.flags;
    __atomic_thread_fence(__ATOMIC_ACQUIRE);
    if (tw_vgpu_load(&page->generation) == generation) return limit;
  }
  tw_vgpu_device_limit nothing = {};
  nothing.memory_bytes = 1;
  nothing.compute_ceiling_permille = 1;
  return nothing;
}

int page_device(CUdevice device) {
  if (device < 0 || device >= kMaxCudaDevices) return kNoDevice;
  const int8_t known = __atomic_load_n(&g_device_index[device], __ATOMIC_RELAXED);
  if (known) return known - 2;
  using GetUuid = CUresult(CUuuid*, CUdevice);
  auto* get = reinterpret_cast<GetUuid*>(driver_symbol("cuDeviceGetUuid_v2"));
  if (!get) get = reinterpret_cast<GetUuid*>(driver_symbol("cuDeviceGetUuid"));
  CUuuid uuid = {};
  if (!get || get(&uuid, device) != CUDA_SUCCESS) return kNoDevice;
  const int index = g_by_number ? number_device(device, uuid) : index_of_uuid(uuid.bytes);
  __atomic_store_n(&g_device_index[device], static_cast<int8_t>(index + 2), __ATOMIC_RELAXED);
  return index;
}

int page_device(nvmlDevice_t device) {
  using GetUuid = nvmlReturn_t(nvmlDevice_t, char*, unsigned);
  auto* get = reinterpret_cast<GetUuid*>(nvml_symbol("nvmlDeviceGetUUID"));
  char text[96] = {};
  if (!get || get(device, text, sizeof(text)) != NVML_SUCCESS) return kNoDevice;
  unsigned char uuid[16] = {};
  int digits = 0;
  for (const char* at = text + 4; *at && digits < 32; ++at) {
    const int value = hex_digit(*at);
    if (value < 0) continue;
    uuid[digits / 2] = static_cast<unsigned char>(uuid[digits / 2] << 4 | value);
    ++digits;
  }
  const int index = digits == 32 ? index_of_uuid(uuid) : kNotInSlice;
  return index == kNotInSlice && g_by_number ? number_by_nvml(device, text) : index;
}

namespace ready {

int find_page_device() {
  int8_t sole = __atomic_load_n(&g_sole_device, __ATOMIC_RELAXED);
  if (sole == 0) sole = find_sole_device();
  if (sole > 0) return sole - 2;
  static CUresult (*get)(CUdevice*);
  if (!get) get = reinterpret_cast<CUresult (*)(CUdevice*)>(driver_symbol("cuCtxGetDevice"));
  CUdevice device = 0;
  if (!get || get(&device) != CUDA_SUCCESS) return kNoDevice;
  return page_device(device);
}

uint64_t find_current_context() {
  auto* const get = reinterpret_cast<CUresult (*)(CUcontext*)>(driver_symbol("cuCtxGetCurrent"));
  __atomic_store_n(&g_current_context, get, __ATOMIC_RELAXED);
  return get ? current_context() : 0;
}

}  // namespace ready

void count_unclassified() {
  if (g_usage) tw_vgpu_count(&g_usage->unclassified_symbols, 1);
}

void count_refusal(int device, tw_vgpu_refusal reason) {
  tw_vgpu_count(&g_usage->devices[device < 0 ? 0 : device].refused[reason], 1);
}

}  // namespace tweendeck::vgpu

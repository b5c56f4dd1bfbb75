// This process as a tenant: which slice it is in, what it may use, and its place in the usage page.
//
// The environment is read once when the library is loaded. Without both variables the library is inert. With
// them, whatever is wrong with the pages makes the process unable to start the driver: limits that were asked
// for never vanish silently. Safe from any thread.
#pragma once

#include <stdint.h>

#include "vgpu/allocations.h"
#include "vgpu/books.h"
#include "vgpu/page.h"
#include "vgpu/preload/abi.h"

namespace tweendeck::vgpu {

enum class Mode : uint8_t {
  Inert,    // no limits were asked for
  Limited,  // inside a slice
  Broken,   // limits were asked for and cannot be enforced
};

// What the inline functions read.
namespace ready {
inline constexpr uint8_t kNotYet = 0xff;
TW_HIDDEN extern uint8_t g_mode;           // what mode() found
TW_HIDDEN extern uint8_t g_mode_attached;  // what mode_attached() found
TW_HIDDEN extern const tw_vgpu_limits_page* g_limits;
TW_HIDDEN extern int8_t g_sole_device;  // index + 2 of the only device; 0 = not asked yet; else negative
TW_HIDDEN extern CUresult (*g_current_context)(CUcontext*);
Mode find_mode();
Mode attach();
int find_page_device();
uint64_t find_current_context();
}  // namespace ready

// Maps the pages at the first call.
inline Mode mode() {
  const uint8_t found = __atomic_load_n(&ready::g_mode, __ATOMIC_ACQUIRE);
  return __builtin_expect(found != ready::kNotYet, 1) ? static_cast<Mode>(found) : ready::find_mode();
}
// Limited, and with a slot in the usage page; takes one at the first call of a process.
inline Mode mode_attached() {
  const uint8_t found = __atomic_load_n(&ready::g_mode_attached, __ATOMIC_ACQUIRE);
  return __builtin_expect(found != ready::kNotYet, 1) ? static_cast<Mode>(found) : ready::attach();
}

TW_HIDDEN extern constinit Books g_books;
TW_HIDDEN extern constinit Allocations g_allocations;
inline Books& books() {
  return g_books;
}
inline Allocations& allocations() {
  return g_allocations;
}
tw_vgpu_usage_page* usage();
const tw_vgpu_limits_page* limits_page();

// The limit set in force; a copy that is renewed when the node publishes another.
void current_limits(tw_vgpu_limit_set& out);
tw_vgpu_device_limit device_limit(uint32_t index, uint32_t* set_flags);
// Bytes, 0 = not limited. One word needs no second look at the generation: it is of this set or of the next.
inline uint64_t memory_limit(uint32_t index) {
  const uint64_t generation = tw_vgpu_load(&ready::g_limits->generation);
  return tw_vgpu_load(&ready::g_limits->sets[generation & 1].devices[index].memory_bytes);
}

// Index in the pages of a CUDA device, of the current context's device, or of an NVML device. kNotInSlice =
// the slice does not have it; kNoDevice = there is none (no context, bad handle): the driver shall say so.
inline constexpr int kNotInSlice = -1;
inline constexpr int kNoDevice = -2;
// A process that has one device needs no context to know which; the driver is not asked.
int page_device(CUdevice device);
inline int page_device_now() {
  const int8_t sole = __atomic_load_n(&ready::g_sole_device, __ATOMIC_RELAXED);
  return __builtin_expect(sole > 0, 1) ? sole - 2 : ready::find_page_device();
}
int page_device(nvmlDevice_t device);

inline uint64_t current_context() {
  auto* const get = __atomic_load_n(&ready::g_current_context, __ATOMIC_RELAXED);
  CUcontext context = nullptr;
  if (__builtin_expect(!get, 0)) return ready::find_current_context();
  return get(&context) == CUDA_SUCCESS ? reinterpret_cast<uint64_t>(context) : 0;
}

// What the slice shows of a device that has `total` and `free` bytes itself. A slice without a memory limit,
// or with one above the device, shows the device.
void show_slice(uint32_t device, uint64_t& free, uint64_t& total);

void count_unclassified();
void count_refusal(int device, tw_vgpu_refusal reason);

}  // namespace tweendeck::vgpu

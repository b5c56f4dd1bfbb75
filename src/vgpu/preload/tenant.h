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

// Maps the pages at the first call.
Mode mode();
// Limited, and with a slot in the usage page; takes one at the first call of a process.
Mode mode_attached();

Books& books();
Allocations& allocations();
tw_vgpu_usage_page* usage();
const tw_vgpu_limits_page* limits_page();

// The limit set in force; a copy that is renewed when the node publishes another.
void current_limits(tw_vgpu_limit_set& out);
tw_vgpu_device_limit device_limit(uint32_t index, uint32_t* set_flags);

// Index in the pages of a CUDA device, of the current context's device, or of an NVML device.
// kNotInSlice = the slice does not have it; kNoDevice = there is none (no context, bad handle): the driver
// shall say so.
inline constexpr int kNotInSlice = -1;
inline constexpr int kNoDevice = -2;
int page_device(CUdevice device);
int page_device_now();
int page_device(nvmlDevice_t device);

uint64_t current_context();

// What the slice shows of a device that has `total` and `free` bytes itself. A slice without a memory limit,
// or with one above the device, shows the device.
void show_slice(uint32_t device, uint64_t& free, uint64_t& total);

void count_unclassified();
void count_refusal(int device, tw_vgpu_refusal reason);

}  // namespace tweendeck::vgpu

// The two pages of this process's slice. The environment is read once, when the library is loaded:
// - TWEENDECK_VGPU_LIMITS and TWEENDECK_VGPU_USAGE name the pages that the node made; else
// - HAMi's variables (hami.h) give limits that this process keeps itself, and the processes of one container share a
//   usage page: CUDA_DEVICE_MEMORY_SHARED_CACHE with ".tweendeck-<boot>" behind it (HAMi's own file has another
//   layout), or one of the user's own in /dev/shm or /tmp; else
// - nothing is limited.
#pragma once

#include <stdint.h>

#include "vgpu/page.h"

namespace tweendeck::vgpu {

struct Pages {
  const tw_vgpu_limits_page* limits = nullptr;
  tw_vgpu_usage_page* usage = nullptr;
  const char* usage_path = nullptr;
  tw_vgpu_limits_page* by_number =
      nullptr;  // HAMi: entry i is CUDA's device i; its uuid is filled in when known
};

// False: no limits are asked for.
bool read_environment();
// After read_environment(). False: limits are asked for and cannot be enforced, which is said on stderr.
bool open_pages(Pages& out);

// CUDA_VISIBLE_DEVICES as it was at the start; null = unset. HAMi's limits only.
const char* visible_devices();

// One line on stderr, once per process: why the GPU is not available to it.
void complain(const char* what, const char* about);

}  // namespace tweendeck::vgpu

// Limits from the environment variables of HAMi, for use without a limits page (KAI, Volcano, Koordinator and others set
// these). Pure: the environment is a function.
//
//   CUDA_DEVICE_MEMORY_LIMIT[_<device>]  bytes with an optional suffix k, m or g (1024 each); 0 = not limited
//   CUDA_DEVICE_SM_LIMIT[_<device>]      percent of the device's time; 0, 100 and more = not limited
//   CUDA_TASK_PRIORITY                   0 = high, else low
//   GPU_CORE_UTILIZATION_POLICY          disable = no limit of time; default and force are the same here
//   LIBCUDA_LOG_LEVEL                    0 errors, 1 (default) and 2 warnings too, 3 and more also what was read
//   CUDA_OVERSUBSCRIBE                   has no effect
//   CUDA_DEVICE_MEMORY_SHARED_CACHE      where the processes of the container meet
// The variable with a device's number goes before the one without. A limit that cannot be read is an error, never "not
// limited".
#pragma once

#include <stdint.h>

#include "vgpu/page.h"

namespace tweendeck::vgpu {

inline constexpr uint32_t kHamiPercent = 100;

struct HamiLimits {
  bool asked = false;          // some limit variable is set
  char bad_variable[48] = {};  // the first that cannot be read; empty = none
  bool oversubscribe = false;
  int log_level = 1;
  const char* shared_cache = nullptr;     // this and the next point into the environment
  const char* visible_devices = nullptr;  // CUDA_VISIBLE_DEVICES
  tw_vgpu_limit_set set = {};             // device i is CUDA's device i; no uuids
};

using Environment = const char* (*)(const char* variable);

HamiLimits read_hami_limits(Environment get);

// Which number CUDA gives to NVML's device `index` with that uuid, by CUDA_VISIBLE_DEVICES (null = all in order); -1 = none.
int visible_number(const char* visible, unsigned index, const char* uuid);

// "512m" -> 536870912. False: not a size, or more than 64 bits can say.
bool parse_hami_size(const char* text, uint64_t& bytes);

}  // namespace tweendeck::vgpu

// What contexts and loaded code take of a device. The driver does not say it, so it is measured around the
// call: as the growth of what NVML reports for this process beyond what its books hold, which other processes
// cannot disturb; or, where NVML does not show this process under its own pid (a container with pids of its
// own), as the growth of what is used on the device less what the slice's processes reserved meanwhile,
// within a bound for what neighbours did. Without NVML it is not measured. Safe from any thread, inside a
// slice only.
#pragma once

#include <stdint.h>

#include "vgpu/page.h"
#include "vgpu/preload/abi.h"

namespace tweendeck::vgpu {

inline constexpr uint64_t kMostOfContext = 2ull << 30;  // bounds for what is measured beside neighbours
inline constexpr uint64_t kMostOfCode = 1ull << 30;

class Footprint {
 public:
  // Before the call. `device` is an index in the pages; negative: nothing is measured.
  explicit Footprint(int device);
  // After it: charges the growth to `key`, whose give_back() or whose context's end releases it. An error
  // means that there is no room; the caller undoes the call.
  CUresult charge(uint64_t key, uint64_t context, tw_vgpu_kind kind);

 private:
  uint64_t growth(tw_vgpu_kind kind) const;

  int device_;
  bool own_known_ = false;  // NVML showed a process of this pid before
  uint64_t device_used_ = 0;
  uint64_t slice_used_ = 0;
};

// After fork: the child has no context.
void forget_footprints();

}  // namespace tweendeck::vgpu

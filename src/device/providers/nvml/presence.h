// Who is on a device at this moment, told to each slice there.
//
// A tenant's measurements of its kernels are exact only while nobody else uses the device; NVML says so a tenth of a
// second late, and by then a library has learned wrong durations. What each slice writes in its own usage page is known
// at once. One thread at a time.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/clock.h"
#include "device/providers/nvml/slice_pages.h"

namespace tweendeck::device::nvml {

class Presence {
 public:
  static constexpr Nanos kPeriod =
      5 * kMillisecond;  // between rounds while slices that share a device are active
  static constexpr Nanos kActiveFor = 10 * kMillisecond;      // after the last sign of it
  static constexpr Nanos kSlicesPeriod = 100 * kMillisecond;  // between looks for new slices

  explicit Presence(SlicePages pages) : pages_(std::move(pages)) {}

  // One round; true = the next one is due after kPeriod.
  bool look(Nanos now);

 private:
  void find_slices(Nanos now);

  SlicePages pages_;
  Nanos found_at_ = -kSlicesPeriod;
  std::map<std::string, std::vector<std::string>> slices_of_;  // by device UUID
};

}  // namespace tweendeck::device::nvml

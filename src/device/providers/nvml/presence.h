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

// Who of the slices of one device is to be told of the others, by when each was last active (0 = never). Pure.
struct PresenceDecision {
  std::vector<bool> tell;
  bool busy = false;  // somebody is active beside others that may be
};
PresenceDecision decide_presence(const std::vector<Nanos>& last_active, Nanos now);

// Rounds over the pages of a folder, opened anew each time; the daemon's loop has them open (slice_loop.h).
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

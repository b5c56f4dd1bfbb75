// What the node writes into the limits pages of slices while they work: the share that each may use now, of what
// others leave idle (device/borrowing.h), and that others are on its device at this moment.
//
//   const Nanos next = lender.round(now, open_slices, outside_permille);
//
// The second is for measurements: a tenant's are exact only while nobody else uses the device; NVML says so a tenth of
// a second late, and by then a library has learned wrong durations. What each slice writes in its own usage page is
// known at once. One thread.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "device/borrowing.h"
#include "device/providers/nvml/open_slices.h"

namespace tweendeck::device::nvml {

inline constexpr Nanos kActiveFor = 10 * kMillisecond;  // a slice is, after the last sign of it

// Who of the slices of one device is to be told of the others, by when each was last active (0 = never). Pure.
struct PresenceDecision {
  std::vector<bool> tell;
  bool busy = false;  // somebody is active beside others that may be
};
PresenceDecision decide_presence(const std::vector<Nanos>& last_active, Nanos now);

class Lender {
 public:
  static constexpr Nanos kIdlePeriod =
      20 * kMillisecond;  // between rounds while nobody borrows or is beside others
  static constexpr Nanos kEmptyPeriod = 100 * kMillisecond;

  using Slices = std::map<std::string, std::unique_ptr<OpenSlice>>;
  // One round; answers how long until the next. `outside_permille`: by device UUID, the use by nobody's slice.
  Nanos round(Nanos now, const Slices& slices, const std::map<std::string, uint32_t>& outside_permille);

  // The most that the slice might use at any time since this was last asked; 0 before its first round.
  uint32_t take_most_share(const std::string& slice_id);

 private:
  Nanos round_of_device(Nanos now, const std::string& uuid, const std::vector<const OpenSlice*>& slices,
                        uint32_t outside_permille);

  std::map<std::string, Borrowing> borrowing_;  // by device UUID
  std::map<std::string, uint32_t> most_share_;  // by slice
};

}  // namespace tweendeck::device::nvml

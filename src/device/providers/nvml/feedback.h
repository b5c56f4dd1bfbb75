// What the driver measured of each slice, written into its limits page.
//
// A process can time its own kernels, but on a shared device its intervals hold other tenants' kernels too.
// The driver knows better, in percent per process and sampling period; the vgpu library corrects its charges
// by that. The same round frees the slots of processes that were killed, so a slice without a surviving
// process reports no memory.
#pragma once

#include <functional>
#include <map>
#include <set>
#include <string>
#include <vector>

#include "base/clock.h"
#include "device/providers/nvml/discovery.h"
#include "device/providers/nvml/slice_pages.h"

namespace tweendeck::device::nvml {

// False when the process that the word names has ended, as far as pids of this namespace tell.
bool is_alive(Owner owner);

// Turns samples into cumulative busy time. Pure; one per device.
class UtilizationAccount {
 public:
  // A sample's period is not told; it is the time since the one before, within reason, and of the first the usual one.
  static constexpr Nanos kLongestPeriod = 250 * kMillisecond;
  static constexpr Nanos kUsualPeriod = kSecond / 6;  // of data-centre cards

  struct Round {
    std::map<uint32_t, uint64_t> busy_ns;  // by pid, in this round
    std::map<uint32_t, uint32_t> percent;  // by pid
    uint32_t total_percent = 0;
  };
  Round add(const std::vector<Utilization>& samples);
  uint64_t last_us() const { return last_us_; }

 private:
  uint64_t last_us_ = 0;
};

// One round for all slices. One thread at a time; `now` is of the clock that the library reads.
class Feedback {
 public:
  using Measure = std::function<Result<std::vector<Utilization>>(const std::string& uuid, uint64_t since_us)>;
  static constexpr Nanos kPeriod = 100 * kMillisecond;  // between rounds

  Feedback(SlicePages pages, Measure measure) : pages_(std::move(pages)), measure_(std::move(measure)) {}
  void round(Nanos now);

  // Is told what each round measured on each device, before the slices are.
  using Observer = std::function<void(const std::string& uuid, const UtilizationAccount::Round& round)>;
  void observe(Observer observer) { observer_ = std::move(observer); }

 private:
  std::set<uint32_t> members(const std::string& slice_id);
  void publish(const std::string& slice_id, const UtilizationAccount::Round& round, bool is_first, Nanos now);

  SlicePages pages_;
  Measure measure_;
  Observer observer_;
  std::map<std::string, UtilizationAccount> accounts_;  // by device UUID
  std::map<std::string, std::set<Owner>> verified_;     // by slice: owners that were seen to map its page
};

}  // namespace tweendeck::device::nvml

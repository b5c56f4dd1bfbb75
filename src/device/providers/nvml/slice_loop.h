// The node's side of the slices on a provider's devices, as one thread with three rounds:
//
// - lend, every kBorrowPeriod while somebody borrows or could, else less often: reads what slices do from their pages
//   and writes the share that each may use now (lender.h).
// - measure, every kMeasurePeriod: the driver's utilisation by process into the feedback of each slice, because a
//   process that times its own kernels also times those of other tenants; and frees the slots of dead processes.
// - watch, every kWatchPeriod: compares pages and processes with what the driver says (device/watch.h) and puts back
//   limits that somebody else wrote.
//
// Without slices the thread only looks for some every kMeasurePeriod.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <map>
#include <mutex>
#include <set>
#include <string>
#include <thread>
#include <vector>

#include "base/clock.h"
#include "device/providers/nvml/discovery.h"
#include "device/providers/nvml/feedback.h"
#include "device/providers/nvml/lender.h"
#include "device/providers/nvml/membership.h"
#include "device/providers/nvml/open_slices.h"
#include "device/providers/nvml/slice_pages.h"
#include "device/watch.h"

namespace tweendeck::device::nvml {

class SliceLoop {
 public:
  // What is asked of the driver. Called on the loop's thread only.
  struct Driver {
    std::function<Result<std::vector<Utilization>>(const std::string& uuid, uint64_t since_us)> utilization;
    std::function<Result<std::vector<Process>>(const std::string& uuid)> processes;
  };
  static constexpr Nanos kMeasurePeriod = 100 * kMillisecond;

  SliceLoop(SlicePages pages, Driver driver);
  ~SliceLoop();

  // What the watch finds wrong now. Safe from any thread.
  std::vector<Finding> findings() const;
  // The limits that the node wrote; any others in the page are put back. Safe from any thread.
  void expect_limits(const std::string& slice_id, const tw_vgpu_limit_set& set);
  void forget(const std::string& slice_id);

  // CPU time that the thread has used, its rounds, and how often it mapped a slice's pages. Safe from any thread.
  struct Cost {
    uint64_t cpu_ns = 0;
    uint64_t rounds = 0;
    uint64_t opened = 0;
  };
  Cost cost() const { return {cpu_ns_.load(), rounds_.load(), opened_.load()}; }

 private:
  void run();
  Nanos round(Nanos now);
  void measure(Nanos now);
  void watch(Nanos now);
  void account(const std::string& uuid, const UtilizationAccount::Round& round);
  bool check_limits(const OpenSlice& slice);

  SlicePages pages_;
  Driver driver_;
  SystemClock clock_;
  OpenSlices open_;
  Membership membership_;
  Watch watch_;
  Lender lender_;
  Feedback feedback_;
  std::set<std::string> devices_;                     // UUIDs of all that had slices
  std::map<std::string, uint32_t> outside_permille_;  // by device UUID: use by nobody's slice
  std::map<std::string, uint64_t> busy_ns_;           // by slice, as the driver measured
  Nanos next_lend_ = 0, next_measure_ = 0, next_watch_ = 0;

  std::atomic<uint64_t> cpu_ns_{0}, rounds_{0}, opened_{0};
  mutable std::mutex mutex_;  // of what follows
  std::vector<Finding> findings_;
  std::map<std::string, tw_vgpu_limit_set> expected_;
  std::condition_variable wake_;
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace tweendeck::device::nvml

// Watch: finds tenants that got around the limits of their slice. Pure: facts in, findings out; one per
// provider, not thread-safe.
//
// The books and the bucket of a slice are in a page that its tenant may write, and a process may call the
// driver without the library. So what they say is compared with what the driver's own management library
// measures, which a tenant cannot write. A condition must hold in kConfirmations looks in a row, because a
// process that starts or allocates is between two truths for a moment.
#pragma once

#include <cstdint>
#include <deque>
#include <map>
#include <set>
#include <string>
#include <tuple>
#include <vector>

#include "base/clock.h"
#include "base/reason.h"

namespace tweendeck::device {

inline constexpr Nanos kWatchPeriod = 150 * kMillisecond;
inline constexpr int kConfirmations = 2;
inline constexpr Nanos kShareWindow = 450 * kMillisecond;  // over which shares are compared
inline constexpr uint64_t kBookSlackBytes = 64ull
                                            << 20;  // what the driver may hold beside the books, per process
inline constexpr uint64_t kBookSlackDivisor = 50;   // and this part of what it holds
inline constexpr uint64_t kUnbookedContextBytes = 640ull
                                                  << 20;  // where the library could not measure the context
inline constexpr uint32_t kShareTolerancePermille = 150;  // one unit of work, and the driver's sampling
inline constexpr Nanos kBucketSlack = 60 * kMillisecond;
inline constexpr size_t kMaxFindings = 256;

// A process that the driver lists on a device.
struct WatchedProcess {
  uint32_t pid = 0;
  std::string device;         // its UUID
  std::string slice;          // whose pages, cgroup or ancestors it has; "" = nobody's
  uint64_t driver_bytes = 0;  // as the driver tells
  bool has_slot = false;      // lives in the usage page of the slice
  uint64_t booked_bytes = 0;  // what its book says
  bool context_is_booked = false;
  uint32_t library_abi = 0;
  bool operator==(const WatchedProcess&) const = default;
};

// What is seen of a slice. Counters only grow, or somebody writes them who should not.
struct WatchedSlice {
  std::string id;
  bool limits_intact = true;     // the page in force is what the node wrote
  bool usage_intact = true;      // the page is there, of its size and bound to the limits
  uint32_t share_permille = 0;   // the most that it may use now; 0 or >= 1000 = not limited
  uint32_t bucket_permille = 0;  // what the bucket is scaled for; changes make it move by themselves
  uint64_t share_used_until_ns = 0;
  uint64_t charged_ns = 0;
  uint64_t launches = 0;
  uint64_t driver_busy_ns = 0;  // as the driver measured, of its processes
};

struct Finding {
  Reason reason = Reason::None;  // SliceBypassed, BooksForged, ShareExceeded, PageTampered, LibraryStale
  std::string slice_id;          // "" = of no slice that is known
  uint32_t pid = 0;              // 0 = of the slice as a whole
  std::string message;
  bool operator==(const Finding&) const = default;
};

class Watch {
 public:
  // What is wrong now and has been for kConfirmations looks; ordered by slice, pid and reason.
  std::vector<Finding> look(Nanos now, const std::vector<WatchedProcess>& processes,
                            const std::vector<WatchedSlice>& slices);

 private:
  struct Sample {
    Nanos at;
    WatchedSlice slice;
  };
  void look_at_process(const WatchedProcess& process, std::vector<Finding>& suspicions) const;
  void look_at_slice(Nanos now, const WatchedSlice& slice, std::vector<Finding>& suspicions);

  using Key = std::tuple<std::string, uint32_t, Reason>;
  std::map<std::string, std::deque<Sample>> history_;  // by slice, of kShareWindow
  std::map<Key, int> looks_;                           // in a row
  // What is put right, or over, at once must not be forgotten before somebody is told.
  std::map<std::string, Nanos> shrunk_at_;     // when a counter of the slice was last seen to shrink
  std::map<std::string, Nanos> rewritten_at_;  // when its limits were last found to be somebody else's
};

}  // namespace tweendeck::device

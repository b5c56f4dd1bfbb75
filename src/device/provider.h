// Provider: what CNI is for networks, this is for accelerators. One object per kind of device.
//
// A provider discovers devices and makes slices of them real on this machine. The device manager
// (device/manager/) journals around every call, so a provider keeps no state of its own that matters: prepare
// and unprepare are idempotent, and after kill -9 the manager calls prepared() to find what was left behind.
//
// Thread rules: the manager calls one method at a time per provider. Calls may block for some milliseconds.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/types.h"
#include "device/watch.h"

namespace tweendeck::device {

// What a process must get so that it runs inside the slice.
struct Preparation {
  Isolation isolation = Isolation::None;   // told truthfully: what was read back, not what was asked
  Reason isolation_reason = Reason::None;  // why it is not stronger
  std::vector<EnvVar> env;                 // to add to the process's environment
  std::vector<Mount> mounts;               // to show inside its sandbox
  std::vector<std::string> cgroup_procs;   // the process writes its pid to each of these before exec
  uint32_t cpu_count = 0;                  // CPUs the slice amounts to, rounded up; 0 = not limited
  bool operator==(const Preparation&) const = default;
};

struct KindUsage {
  std::string kind;         // "linear", "pool", "context", ...
  uint64_t used_bytes = 0;  // now
  uint64_t peak_bytes = 0;  // the most that was seen
  uint64_t allocations = 0;
};

// What a slice uses now. Counters only grow while the slice lives.
struct SliceUsage {
  uint64_t memory_bytes = 0;
  uint64_t memory_peak_bytes = 0;
  uint64_t compute_ns = 0;       // device time used: CPU time over all CPUs, or kernel time
  uint64_t throttled_ns = 0;     // time spent waiting for the share
  uint64_t memory_refusals = 0;  // allocations refused at the limit
  uint64_t oom_kills = 0;        // processes stopped by the slice's own limit
  uint64_t paused_ns = 0;        // time spent waiting because the slice was paused
  uint64_t borrowed_ns = 0;      // of compute_ns, above the slice's own share
  uint64_t launches = 0;
  uint32_t processes = 0;             // that hold a place in the slice's books
  uint32_t effective_permille = 0;    // share that it may use now, lent parts included; 0 = its own
  std::vector<KindUsage> kinds = {};  // memory by what it is for; those in use or ever used
};

class Provider {
 public:
  virtual ~Provider() = default;

  virtual std::string_view name() const = 0;  // "cpu", "nvidia", "soft"

  // All devices of this kind with their present health. No device is an empty list, not an error.
  virtual Result<std::vector<Device>> discover() = 0;

  // Makes the slice real and verifies it by reading back. Calling again with the same slice gives the same
  // answer; with another share, or paused, it changes the limits of the slice while its processes run. Errors
  // beside the provider's own: Unsupported (pausing or lending where nothing can do that).
  virtual Result<Preparation> prepare(const Slice& slice) = 0;

  // Removes every trace, processes inside the slice included. Unknown ids succeed.
  virtual Status unprepare(std::string_view slice_id) = 0;

  virtual Result<SliceUsage> usage(std::string_view slice_id) = 0;

  // What its watch finds wrong now: tenants that got around their limits. Safe from any thread.
  virtual std::vector<Finding> findings() const { return {}; }

  // Ids of all slices that exist on the machine for this state directory, whoever made them.
  virtual Result<std::vector<std::string>> prepared() = 0;
};

}  // namespace tweendeck::device

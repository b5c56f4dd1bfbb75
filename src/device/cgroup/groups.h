// Groups: cgroups of this state directory's slices, named tweendeck-<hash of the state directory>/<slice id>.
//
//   Result<std::unique_ptr<Groups>> groups = Groups::open(kernel, "/", state_dir);  // CgroupUnavailable:
//   none here Result<std::vector<std::string>> procs = groups->create(slice.id, {.memory_bytes = 1 << 30,
//   .cpu_milli = 400});
//
// One program for both cgroup versions: v2's single tree, or v1's separate hierarchies (cpu, cpuacct, cpuset,
// memory). The base group is made below this process's own group, so that limits of a container or unit
// around us hold; where a group of this state directory exists already, wherever a previous daemon stood, it
// is used again. Every limit is read back; one that differs is CgroupLimitNotApplied and the slice does not
// exist. Every call is idempotent. No state but the paths found by open(): safe from any thread.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "device/cgroup/kernel.h"

namespace tweendeck::device {

inline constexpr uint64_t kCpuPeriodUs =
    100'000;  // the kernel's default: quota is what a slice may run in it
inline constexpr uint64_t kMinCpuQuotaUs = 1'000;  // the kernel refuses less
inline constexpr int kRemoveAttempts = 1000;       // x kRemovePause = 5 s for processes to die
inline constexpr Nanos kRemovePause = 5 * kMillisecond;
inline constexpr uint64_t kUnlimited = UINT64_MAX;

struct GroupLimits {
  uint64_t memory_bytes = 0;  // 0: not limited; swap is then not limited either
  uint64_t cpu_milli = 0;     // thousandths of one CPU; 0: not limited
  std::string cpus = {};      // "0-3,8"; "" = as the parent
  std::string mems = {};      // NUMA nodes; "" = as the parent
};

struct GroupUsage {
  uint64_t memory_bytes = 0;
  uint64_t memory_peak_bytes = 0;  // 0 where the kernel does not tell (v2 before Linux 5.19)
  uint64_t memory_refusals =
      0;  // charges that hit the limit; 0 where the kernel does not count them (some v1)
  uint64_t cpu_ns = 0;
  uint64_t throttled_ns = 0;
  uint64_t oom_kills = 0;
};

class Groups {
 public:
  // `root` is put before /proc and the mount points; "" or "/" on a real machine.
  static Result<std::unique_ptr<Groups>> open(Kernel& kernel, const std::string& root,
                                              std::string_view state_dir);
  virtual ~Groups() = default;

  // Makes the group with its limits and verifies them; answers the cgroup.procs file of every hierarchy.
  // On error nothing of the group is left.
  Result<std::vector<std::string>> create(std::string_view id, const GroupLimits& limits);

  // Kills every process inside and removes the group. Unknown ids succeed. Errors: Timeout with what is left.
  Status remove(std::string_view id);

  // Kills what the kernel's out-of-memory killer left of a slice, so that a half-dead process group does not
  // linger. As the kernel does for v2's memory.oom.group, it spares processes whose oom_score_adj is -1000.
  Status kill_after_oom(std::string_view id);

  Result<GroupUsage> usage(std::string_view id) const;  // NotFound
  std::vector<std::string> list() const;  // ids of all groups that exist in any hierarchy, sorted
  std::vector<pid_t> processes(std::string_view id) const;  // sorted, each once

  // Removes the base group where no slice is left in it; the next create() makes it again.
  void remove_empty_base();

  virtual int version() const = 0;
  virtual uint64_t memory_limit_bytes() const = 0;  // the lowest limit around all slices, or kUnlimited
  virtual uint64_t cpu_limit_milli() const = 0;     // likewise

 protected:
  Groups(Kernel& kernel, std::string root) : kernel_(kernel), root_(std::move(root)) {}

  // The base group in each distinct hierarchy.
  virtual std::vector<std::string> bases() const = 0;
  virtual Status ensure_bases() = 0;
  virtual Status apply(std::string_view id, const GroupLimits& limits) = 0;
  virtual Result<GroupUsage> read_usage(std::string_view id) const = 0;
  virtual bool kill_whole(std::string_view id) const = 0;  // by one kernel call; false where there is none

  Status make(const std::string& path);  // one folder; an existing one is fine
  // Writes `text` and reads it back. `expected` defaults to `text`.
  Status set(const std::string& path, std::string_view text, std::string_view expected = {});
  std::string text_of(const std::string& path) const;  // trimmed; "" when absent
  bool exists(const std::string& path) const;          // a file that can be read
  uint64_t number_in(const std::string& path) const;   // kUnlimited for "max"; 0 when absent
  uint64_t field_in(const std::string& path, std::string_view key) const;  // "key value" lines; 0 when absent

  Kernel& kernel_;

 private:
  std::vector<pid_t> processes_below(const std::string& folder) const;
  bool remove_once(const std::string& folder);

  std::string root_;
};

// "tweendeck-<16 hex digits>": stable for a state directory.
std::string base_group_name(std::string_view state_dir);

// Memory limits hold whole pages.
uint64_t round_down_to_page(uint64_t bytes);

}  // namespace tweendeck::device

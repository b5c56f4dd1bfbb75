#include "device/cgroup/groups_v2.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "base/text.h"
#include "device/cgroup/search.h"
#include "device/cgroup/weight.h"

namespace tweendeck::device {
namespace {

constexpr std::string_view kControllers = "+cpu +cpuset +memory";

}  // namespace

Result<std::unique_ptr<Groups>> GroupsV2::open(Kernel& kernel, const std::string& root,
                                               const Hierarchy& hierarchy, const std::string& base_name) {
  auto groups = std::unique_ptr<GroupsV2>(new GroupsV2(kernel, root));
  groups->mount_point_ = root + hierarchy.mount_point;
  if (auto found = find_group(kernel, groups->mount_point_, base_name)) {
    groups->base_ = *found;
    if (Status ok = groups->ensure_bases(); !ok) return fail(Reason::CgroupUnavailable, ok.error().message);
    return groups;
  }
  std::string refusals;
  for (std::string parent = groups->mount_point_ + hierarchy.own_folder;; parent.resize(parent.rfind('/'))) {
    groups->base_ = parent + "/" + base_name;
    Status ok = groups->give_controllers(parent);
    if (ok) ok = groups->ensure_bases();
    if (ok) return groups;
    refusals += (refusals.empty() ? "" : "; ") + ok.error().message;
    if (parent.size() <= groups->mount_point_.size()) break;
  }
  return fail(Reason::CgroupUnavailable, refusals,
              "run the daemon as root, or as a systemd unit with Delegate=yes");
}

Status GroupsV2::give_controllers(const std::string& folder) {
  std::string path = folder + "/cgroup.subtree_control";
  int error = kernel_.write(path, kControllers);
  if (error != 0) return fail(system_error(error, fmt::format("writing '{}' to {}", kControllers, path)));
  return {};
}

Status GroupsV2::ensure_bases() {
  if (Status ok = make(base_); !ok) return ok;
  if (Status ok = give_controllers(base_); !ok) return ok;
  size_t cpus = cpu_list_size(text_of(base_ + "/cpuset.cpus.effective"));
  return set(base_ + "/cpu.weight", fmt::format("{}", base_weight(cpus)));
}

Status GroupsV2::apply(std::string_view id, const GroupLimits& limits) {
  std::string folder = fmt::format("{}/{}", base_, id);
  if (Status ok = make(folder); !ok) return ok;
  if (!limits.cpus.empty()) {
    if (Status ok = set(folder + "/cpuset.cpus", limits.cpus); !ok) return ok;
  }
  if (!limits.mems.empty()) {
    if (Status ok = set(folder + "/cpuset.mems", limits.mems); !ok) return ok;
  }
  if (Status ok = apply_cpu(folder, limits); !ok) return ok;
  return apply_memory(folder, limits);
}

Status GroupsV2::apply_cpu(const std::string& folder, const GroupLimits& limits) {
  const bool limited = limits.cpu_milli != 0;
  const uint64_t weight = limited ? slice_weight(limits.cpu_milli) : kWeightPerCpu;
  if (Status ok = set(folder + "/cpu.weight", fmt::format("{}", weight)); !ok) return ok;
  // The group may have been limited before.
  if (!limited) return set(folder + "/cpu.max", fmt::format("max {}", kCpuPeriodUs));
  return set(folder + "/cpu.max", fmt::format("{} {}", cpu_quota_us(limits.cpu_milli), kCpuPeriodUs));
}

Status GroupsV2::apply_memory(const std::string& folder, const GroupLimits& limits) {
  if (limits.memory_bytes == 0) return {};
  std::string bytes = fmt::format("{}", round_down_to_page(limits.memory_bytes));
  if (Status ok = set(folder + "/memory.max", bytes); !ok) return ok;
  // The file is absent on kernels without swap; then there is no swap to keep a slice out of.
  std::string swap = folder + "/memory.swap.max";
  if (exists(swap)) {
    if (Status ok = set(swap, "0"); !ok) return ok;
  }
  return set(folder + "/memory.oom.group", "1");
}

Result<GroupUsage> GroupsV2::read_usage(std::string_view id) const {
  std::string folder = fmt::format("{}/{}", base_, id);
  GroupUsage usage;
  usage.memory_bytes = number_in(folder + "/memory.current");
  usage.memory_peak_bytes = number_in(folder + "/memory.peak");
  usage.memory_refusals = field_in(folder + "/memory.events", "max");
  usage.oom_kills = field_in(folder + "/memory.events", "oom_kill");
  usage.cpu_ns = field_in(folder + "/cpu.stat", "usage_usec") * kMicrosecond;
  usage.throttled_ns = field_in(folder + "/cpu.stat", "throttled_usec") * kMicrosecond;
  return usage;
}

bool GroupsV2::kill_whole(std::string_view id) const {
  return kernel_.write(fmt::format("{}/{}/cgroup.kill", base_, id), "1") == 0;
}

uint64_t GroupsV2::memory_limit_bytes() const {
  uint64_t lowest = kUnlimited;
  for (std::string folder = base_; folder.size() > mount_point_.size(); folder.resize(folder.rfind('/'))) {
    // The file is absent where a group above does not give the controller away: no limit there.
    std::string path = folder + "/memory.max";
    if (exists(path)) lowest = std::min(lowest, number_in(path));
  }
  return lowest;
}

uint64_t GroupsV2::cpu_limit_milli() const {
  uint64_t lowest = kUnlimited;
  for (std::string folder = base_; folder.size() > mount_point_.size(); folder.resize(folder.rfind('/'))) {
    std::string text = text_of(folder + "/cpu.max");  // "QUOTA PERIOD" or "max PERIOD"
    std::vector<std::string_view> parts = split(text, ' ');
    uint64_t quota = 0;
    uint64_t period = 0;
    if (parts.size() != 2 || parts[0] == "max") continue;
    std::from_chars(parts[0].data(), parts[0].data() + parts[0].size(), quota);
    std::from_chars(parts[1].data(), parts[1].data() + parts[1].size(), period);
    if (period > 0) lowest = std::min(lowest, quota * 1000 / period);
  }
  return lowest;
}

}  // namespace tweendeck::device

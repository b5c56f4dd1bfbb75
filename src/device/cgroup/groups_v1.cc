#include "device/cgroup/groups_v1.h"

#include <fmt/format.h>

#include <algorithm>

#include "device/cgroup/search.h"
#include "device/cgroup/weight.h"

namespace tweendeck::device {

Result<std::unique_ptr<Groups>> GroupsV1::open(Kernel& kernel, const std::string& root,
                                               const std::vector<Hierarchy>& hierarchies,
                                               const std::string& base_name) {
  auto groups = std::unique_ptr<GroupsV1>(new GroupsV1(kernel, root));
  struct Wanted {
    std::string_view controller;
    Place& place;
  };
  for (Wanted wanted : {Wanted{"cpu", groups->cpu_}, Wanted{"cpuacct", groups->cpuacct_},
                        Wanted{"cpuset", groups->cpuset_}, Wanted{"memory", groups->memory_}}) {
    auto found =
        std::ranges::find_if(hierarchies, [&](const Hierarchy& h) { return h.has(wanted.controller); });
    if (found == hierarchies.end()) {
      return fail(Reason::CgroupUnavailable,
                  fmt::format("no cgroup hierarchy with controller {} is mounted", wanted.controller),
                  "mount /sys/fs/cgroup, or use a machine with cgroup v2");
    }
    wanted.place.mount_point = root + found->mount_point;
    wanted.place.base = find_group(kernel, wanted.place.mount_point, base_name)
                            .value_or(wanted.place.mount_point + found->own_folder + "/" + base_name);
  }
  if (Status ok = groups->ensure_bases(); !ok) {
    return fail(Reason::CgroupUnavailable, ok.error().message, "run the daemon as root");
  }
  return groups;
}

std::vector<std::string> GroupsV1::bases() const {
  // Memory first: a process that joins is charged from its first page on.
  std::vector<std::string> all{memory_.base, cpuset_.base, cpu_.base, cpuacct_.base};
  std::vector<std::string> distinct;
  for (std::string& base : all) {
    if (std::ranges::find(distinct, base) == distinct.end()) distinct.push_back(std::move(base));
  }
  return distinct;
}

Status GroupsV1::ensure_bases() {
  for (const std::string& base : bases()) {
    if (Status ok = make(base); !ok) return ok;
  }
  if (Status ok = fill_cpuset(cpuset_.base); !ok) return ok;
  size_t cpus = cpu_list_size(text_of(cpuset_.base + "/cpuset.cpus"));
  return set(cpu_.base + "/cpu.shares", fmt::format("{}", base_shares(cpus)));
}

// A v1 cpuset starts empty and takes no process until it has CPUs and memory nodes; so does every group above
// it.
Status GroupsV1::fill_cpuset(const std::string& folder) {
  if (folder == cpuset_.mount_point) return {};
  std::string parent = folder.substr(0, folder.rfind('/'));
  if (Status ok = fill_cpuset(parent); !ok) return ok;
  for (std::string_view file : {"/cpuset.cpus", "/cpuset.mems"}) {
    std::string path = folder + std::string(file);
    if (!text_of(path).empty()) continue;
    if (Status ok = set(path, text_of(parent + std::string(file))); !ok) return ok;
  }
  return {};
}

Status GroupsV1::apply(std::string_view id, const GroupLimits& limits) {
  for (const std::string& base : bases()) {
    if (Status ok = make(fmt::format("{}/{}", base, id)); !ok) return ok;
  }
  if (Status ok = apply_cpuset(id, limits); !ok) return ok;
  if (Status ok = apply_cpu(id, limits); !ok) return ok;
  return apply_memory(id, limits);
}

Status GroupsV1::apply_cpuset(std::string_view id, const GroupLimits& limits) {
  std::string folder = cpuset_.below(id);
  if (!limits.cpus.empty()) {
    if (Status ok = set(folder + "/cpuset.cpus", limits.cpus); !ok) return ok;
  }
  if (!limits.mems.empty()) {
    if (Status ok = set(folder + "/cpuset.mems", limits.mems); !ok) return ok;
  }
  return fill_cpuset(folder);
}

Status GroupsV1::apply_cpu(std::string_view id, const GroupLimits& limits) {
  std::string folder = cpu_.below(id);
  const bool limited = limits.cpu_milli != 0;
  const uint64_t shares = limited ? slice_shares(limits.cpu_milli) : kSharesPerCpu;
  if (Status ok = set(folder + "/cpu.shares", fmt::format("{}", shares)); !ok) return ok;
  // The group may have been limited before.
  if (!limited) return set(folder + "/cpu.cfs_quota_us", "-1");
  if (Status ok = set(folder + "/cpu.cfs_period_us", fmt::format("{}", kCpuPeriodUs)); !ok) return ok;
  return set(folder + "/cpu.cfs_quota_us", fmt::format("{}", cpu_quota_us(limits.cpu_milli)));
}

Status GroupsV1::apply_memory(std::string_view id, const GroupLimits& limits) {
  if (limits.memory_bytes == 0) return {};
  std::string memory = memory_.below(id) + "/memory.limit_in_bytes";
  std::string with_swap = memory_.below(id) + "/memory.memsw.limit_in_bytes";
  std::string bytes = fmt::format("{}", round_down_to_page(limits.memory_bytes));
  // Memory and swap together may never be less than memory: raise the sum first, lower it last.
  bool has_swap = exists(with_swap);
  if (has_swap && limits.memory_bytes > number_in(with_swap)) {
    if (Status ok = set(with_swap, bytes); !ok) return ok;
  }
  if (Status ok = set(memory, bytes); !ok) return ok;
  return has_swap ? set(with_swap, bytes) : Status{};
}

Result<GroupUsage> GroupsV1::read_usage(std::string_view id) const {
  std::string memory = memory_.below(id);
  GroupUsage usage;
  usage.memory_bytes = number_in(memory + "/memory.usage_in_bytes");
  usage.memory_peak_bytes = number_in(memory + "/memory.max_usage_in_bytes");
  // With equal limits it is the sum of memory and swap that refuses; where the kernel counts no swap, memory
  // does.
  usage.memory_refusals = number_in(memory + "/memory.failcnt") + number_in(memory + "/memory.memsw.failcnt");
  usage.oom_kills = field_in(memory + "/memory.oom_control", "oom_kill");
  usage.cpu_ns = number_in(cpuacct_.below(id) + "/cpuacct.usage");
  usage.throttled_ns = field_in(cpu_.below(id) + "/cpu.stat", "throttled_time");
  return usage;
}

uint64_t GroupsV1::memory_limit_bytes() const {
  uint64_t lowest = kUnlimited;
  for (std::string folder = memory_.base; folder.size() > memory_.mount_point.size();
       folder.resize(folder.rfind('/'))) {
    lowest = std::min(lowest, number_in(folder + "/memory.limit_in_bytes"));
  }
  return lowest;
}

uint64_t GroupsV1::cpu_limit_milli() const {
  uint64_t lowest = kUnlimited;
  for (std::string folder = cpu_.base; folder.size() > cpu_.mount_point.size();
       folder.resize(folder.rfind('/'))) {
    uint64_t quota = number_in(folder + "/cpu.cfs_quota_us");
    uint64_t period = number_in(folder + "/cpu.cfs_period_us");
    if (quota != kUnlimited && period > 0) lowest = std::min(lowest, quota * 1000 / period);
  }
  return lowest;
}

}  // namespace tweendeck::device

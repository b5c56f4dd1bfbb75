// Groups::open: which cgroup version this machine offers.
#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "device/cgroup/groups_v1.h"
#include "device/cgroup/groups_v2.h"

namespace tweendeck::device {
namespace {

// On hybrid machines the v2 tree is mounted too, but without the controllers that limit a slice.
bool can_limit(Kernel& kernel, const std::string& root, const Hierarchy& hierarchy) {
  std::string text;
  if (hierarchy.version != 2 || kernel.read(root + hierarchy.mount_point + "/cgroup.controllers", text) != 0)
    return false;
  std::vector<std::string_view> names = split(trim(text), ' ');
  return std::ranges::all_of(
      std::initializer_list<std::string_view>{"cpu", "cpuset", "memory"},
      [&](std::string_view name) { return std::ranges::find(names, name) != names.end(); });
}

}  // namespace

Result<std::unique_ptr<Groups>> Groups::open(Kernel& kernel, const std::string& root,
                                             std::string_view state_dir) {
  std::string prefix = root == "/" ? "" : root;
  std::string mountinfo;
  std::string self_cgroup;
  if (kernel.read(prefix + "/proc/self/mountinfo", mountinfo) != 0 ||
      kernel.read(prefix + "/proc/self/cgroup", self_cgroup) != 0) {
    return fail(Reason::CgroupUnavailable,
                fmt::format("{}/proc/self/mountinfo or cgroup cannot be read", prefix), "mount /proc");
  }
  std::vector<Hierarchy> hierarchies = parse_hierarchies(mountinfo, self_cgroup);
  std::string name = base_group_name(state_dir);
  auto v2 =
      std::ranges::find_if(hierarchies, [&](const Hierarchy& h) { return can_limit(kernel, prefix, h); });
  if (v2 != hierarchies.end()) return GroupsV2::open(kernel, prefix, *v2, name);
  return GroupsV1::open(kernel, prefix, hierarchies, name);
}

}  // namespace tweendeck::device

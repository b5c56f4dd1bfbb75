// Groups on cgroup v2: one folder per slice.
//
// Only a group without processes may give its controllers to children, so the base group is made in the
// nearest group, from this process's own upwards, that can. With systemd, `Delegate=yes` and
// `DelegateSubgroup=daemon` make that the unit itself.
#pragma once

#include <string>
#include <vector>

#include "device/cgroup/groups.h"
#include "device/cgroup/hierarchy.h"

namespace tweendeck::device {

class GroupsV2 final : public Groups {
 public:
  // Errors: CgroupUnavailable when controllers are missing or nothing can be written.
  static Result<std::unique_ptr<Groups>> open(Kernel& kernel, const std::string& root,
                                              const Hierarchy& hierarchy, const std::string& base_name);

  int version() const override { return 2; }
  uint64_t memory_limit_bytes() const override;
  uint64_t cpu_limit_milli() const override;

 protected:
  std::vector<std::string> bases() const override { return {base_}; }
  Status ensure_bases() override;
  Status apply(std::string_view id, const GroupLimits& limits) override;
  Result<GroupUsage> read_usage(std::string_view id) const override;
  bool kill_whole(std::string_view id) const override;

 private:
  GroupsV2(Kernel& kernel, std::string root) : Groups(kernel, std::move(root)) {}
  Status give_controllers(const std::string& folder);
  Status apply_cpu(const std::string& folder, const GroupLimits& limits);
  Status apply_memory(const std::string& folder, const GroupLimits& limits);

  std::string mount_point_;
  std::string base_;
};

}  // namespace tweendeck::device

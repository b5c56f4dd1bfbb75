// Groups on cgroup v1: one folder per slice in each of the hierarchies that hold cpu, cpuacct, cpuset and
// memory (some of them may be one hierarchy).
#pragma once

#include <string>
#include <vector>

#include "device/cgroup/groups.h"
#include "device/cgroup/hierarchy.h"

namespace tweendeck::device {

class GroupsV1 final : public Groups {
 public:
  // Errors: CgroupUnavailable when a hierarchy is missing or cannot be written.
  static Result<std::unique_ptr<Groups>> open(Kernel& kernel, const std::string& root,
                                              const std::vector<Hierarchy>& hierarchies,
                                              const std::string& base_name);

  int version() const override { return 1; }
  uint64_t memory_limit_bytes() const override;
  uint64_t cpu_limit_milli() const override;

 protected:
  std::vector<std::string> bases() const override;
  Status ensure_bases() override;
  Status apply(std::string_view id, const GroupLimits& limits) override;
  Result<GroupUsage> read_usage(std::string_view id) const override;
  bool kill_whole(std::string_view) const override { return false; }

 private:
  struct Place {
    std::string mount_point;
    std::string base;
    std::string below(std::string_view id) const { return base + "/" + std::string(id); }
  };

  GroupsV1(Kernel& kernel, std::string root) : Groups(kernel, std::move(root)) {}
  Status fill_cpuset(const std::string& folder);
  Status apply_cpuset(std::string_view id, const GroupLimits& limits);
  Status apply_cpu(std::string_view id, const GroupLimits& limits);
  Status apply_memory(std::string_view id, const GroupLimits& limits);

  Place cpu_, cpuacct_, cpuset_, memory_;
};

}  // namespace tweendeck::device

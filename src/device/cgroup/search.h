// Finds the group of this state directory wherever in a hierarchy an earlier daemon made it.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "device/cgroup/kernel.h"

namespace tweendeck::device {

inline constexpr size_t kMaxSearchedGroups = 20'000;

// Breadth first below `mount_point`; the first in that order. Groups beyond the limit are not looked at.
std::optional<std::string> find_group(Kernel& kernel, const std::string& mount_point,
                                      const std::string& name);

// Names ("tweendeck-<16 hex digits>", sorted) of the groups of other state directories that hold slices. The
// same bound.
std::vector<std::string> find_other_groups(Kernel& kernel, const std::string& mount_point,
                                           const std::string& own_name);

}  // namespace tweendeck::device

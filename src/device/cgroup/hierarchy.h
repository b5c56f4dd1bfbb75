// Where the cgroup hierarchies of this machine are mounted and where in each this process is: parsers of
// /proc/self/mountinfo and /proc/self/cgroup. Pure; safe from any thread.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace tweendeck::device {

struct Hierarchy {
  int version = 0;                       // 1 or 2
  std::vector<std::string> controllers;  // of a v1 hierarchy; v2 lists its own in cgroup.controllers
  std::string mount_point;               // "/sys/fs/cgroup/memory"
  std::string own_folder;                // this process's group below the mount point: "" or "/a/b"
  bool operator==(const Hierarchy&) const = default;

  bool has(std::string_view controller) const;
};

// Malformed lines are skipped: what cannot be read is a hierarchy that is not there.
std::vector<Hierarchy> parse_hierarchies(std::string_view mountinfo, std::string_view self_cgroup);

}  // namespace tweendeck::device

#include "device/cgroup/search.h"

#include <set>
#include <vector>

namespace tweendeck::device {

std::optional<std::string> find_group(Kernel& kernel, const std::string& mount_point,
                                      const std::string& name) {
  std::vector<std::string> queue{mount_point};
  for (size_t next = 0; next < queue.size(); ++next) {
    std::string folder = queue[next];
    for (const std::string& child : kernel.folders(folder)) {
      if (child == name) return folder + "/" + child;
      if (queue.size() < kMaxSearchedGroups) queue.push_back(folder + "/" + child);
    }
  }
  return std::nullopt;
}

std::vector<std::string> find_other_groups(Kernel& kernel, const std::string& mount_point,
                                           const std::string& own_name) {
  std::set<std::string> names;
  std::vector<std::string> queue{mount_point};
  for (size_t next = 0; next < queue.size(); ++next) {
    std::string folder = queue[next];
    for (const std::string& child : kernel.folders(folder)) {
      std::string path = folder + "/" + child;
      bool is_base = child.starts_with("tweendeck-") && child.size() == own_name.size();
      if (is_base && child != own_name && !kernel.folders(path).empty()) names.insert(child);
      if (!is_base && queue.size() < kMaxSearchedGroups) queue.push_back(path);
    }
  }
  return {names.begin(), names.end()};
}

}  // namespace tweendeck::device

#include "device/cgroup/search.h"

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

}  // namespace tweendeck::device

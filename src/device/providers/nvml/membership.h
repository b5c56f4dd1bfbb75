// Which slice a process belongs to, and whether it has a slot there, judged by what the kernel says of it.
// Answers are kept per process, so that a round costs little. Linux; one thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "device/providers/nvml/open_slices.h"

namespace tweendeck::device::nvml {

class Membership {
 public:
  explicit Membership(const SlicePages& pages) : pages_(pages) {}

  // The slice whose usage page the process maps, whose cgroup it is in, or that one of its ancestors belongs
  // to; "" when there is none. What was once found holds for the life of the process.
  std::string slice_of(uint32_t pid, const std::vector<const OpenSlice*>& slices);

  // The slot of the process in the slice: owned by its pid as it is called in its own pid namespace, and its
  // start time, by a process that maps the page.
  std::optional<OpenSlice::Slot> slot_of(uint32_t pid, const OpenSlice& slice);

  // Forgets the dead.
  void prune();

 private:
  struct Known {
    uint64_t start = 0;
    std::string slice;  // "" = not known yet
    bool maps = false;  // its usage page
    uint32_t inner_pid = 0;
    uint64_t name_space = 0;
  };
  Known* known(uint32_t pid);

  const SlicePages& pages_;
  std::map<uint32_t, Known> processes_;
};

// The slice id in the text of /proc/PID/cgroup; "" when the process is in no group of a slice. Pure.
std::string slice_in_cgroups(const std::string& text);

}  // namespace tweendeck::device::nvml

// Any text as /proc/self/mountinfo and /proc/self/cgroup: the input is cut in two at its first NUL byte.
#include <cstdint>
#include <cstdlib>
#include <string_view>

#include "device/cgroup/hierarchy.h"
#include "device/cgroup/weight.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view text(reinterpret_cast<const char*>(data), size);
  size_t cut = text.find('\0');
  std::string_view mountinfo = text.substr(0, cut);
  std::string_view self_cgroup = cut == std::string_view::npos ? "" : text.substr(cut + 1);
  for (const auto& hierarchy : tweendeck::device::parse_hierarchies(mountinfo, self_cgroup)) {
    if (hierarchy.version != 1 && hierarchy.version != 2) std::abort();
  }
  if (tweendeck::device::cpu_list_size(text) == 0) std::abort();
  return 0;
}

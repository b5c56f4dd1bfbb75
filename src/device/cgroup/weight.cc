#include "device/cgroup/weight.h"

#include <charconv>

#include "base/text.h"

namespace tweendeck::device {

size_t cpu_list_size(std::string_view list) {
  size_t count = 0;
  for (std::string_view range : split(trim(list), ',')) {
    size_t first = 0;
    auto [rest, error] = std::from_chars(range.data(), range.data() + range.size(), first);
    if (error != std::errc()) continue;
    size_t last = first;
    const char* end = range.data() + range.size();
    if (rest != end && *rest == '-') std::from_chars(rest + 1, end, last);
    if (last >= first) count += last - first + 1;
  }
  return std::max<size_t>(count, 1);
}

}  // namespace tweendeck::device

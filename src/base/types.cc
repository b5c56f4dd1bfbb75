#include "base/types.h"

#include <array>

namespace tweendeck {
namespace {

constexpr std::array<std::string_view, 5> kIsolationNames = {"none", "library", "driver", "kernel",
                                                             "hardware"};
constexpr std::array<std::string_view, 4> kStateNames = {"starting", "ready", "draining", "unhealthy"};

}  // namespace

std::string_view to_string(Isolation isolation) {
  return kIsolationNames.at(static_cast<size_t>(isolation));
}

bool parse_isolation(std::string_view name, Isolation& out) {
  for (size_t i = 0; i < kIsolationNames.size(); ++i) {
    if (kIsolationNames[i] != name) continue;
    out = static_cast<Isolation>(i);
    return true;
  }
  return false;
}

std::string_view to_string(EndpointState state) {
  return kStateNames.at(static_cast<size_t>(state));
}

}  // namespace tweendeck

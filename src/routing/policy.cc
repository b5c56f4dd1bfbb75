#include <array>

#include "routing/router.h"

namespace tweendeck::routing {
namespace {

constexpr std::array<std::string_view, 3> kPolicyNames = {"prefix", "round-robin", "least-requests"};

}  // namespace

std::string_view to_string(Policy policy) {
  return kPolicyNames.at(static_cast<size_t>(policy));
}

bool parse_policy(std::string_view name, Policy& out) {
  for (size_t i = 0; i < kPolicyNames.size(); ++i) {
    if (kPolicyNames[i] != name) continue;
    out = static_cast<Policy>(i);
    return true;
  }
  return false;
}

}  // namespace tweendeck::routing

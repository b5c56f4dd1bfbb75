#include "sim/policies.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "base/text.h"
#include "placement/policy/make_policy.h"
#include "sim/engine_scheduler.h"
#include "sim/reference_scheduler.h"
#include "sim/replay/policy.h"

namespace tweendeck::sim {

namespace {

// Says that the engine's policy is meant where a published one has the same name.
constexpr std::string_view kEnginePrefix = "engine:";
constexpr std::array<std::string_view, 4> kEnginePolicies = {"binpack", "spread", "hami", "engine:fgd"};
const std::string& engine_default() {
  static const std::string name = placement::PolicySettings().name;
  return name;
}

bool is_published(std::string_view policy) {
  return std::ranges::find(published_policies(), policy) != published_policies().end();
}

std::string engine_name(std::string_view policy) {
  return std::string(policy.starts_with(kEnginePrefix) ? policy.substr(kEnginePrefix.size()) : policy);
}

}  // namespace

std::string_view default_policy() {
  return engine_default();
}

std::vector<std::string_view> policy_names() {
  std::vector<std::string_view> names(kEnginePolicies.begin(), kEnginePolicies.end());
  if (std::ranges::find(names, default_policy()) == names.end())
    names.insert(names.begin(), default_policy());
  names.insert(names.end(), published_policies().begin(), published_policies().end());
  return names;
}

Status check_policy(std::string_view policy) {
  if (is_published(policy)) return {};
  Result<std::unique_ptr<placement::Policy>> made = placement::make_policy({engine_name(policy), {}});
  if (made) return {};
  std::vector<std::string_view> known = policy_names();
  std::string_view meant = nearest(policy, known);
  if (meant.empty() || policy.find(':') != std::string_view::npos) return fail(made.error());
  return fail(Reason::NotFound, fmt::format("no policy '{}'", policy),
              fmt::format("did you mean {}?", meant));
}

std::string engine_policy_of(std::string_view policy) {
  const std::string name = engine_name(policy);
  return placement::make_policy({name, {}}) ? name : engine_default();
}

Result<std::unique_ptr<SchedulerMaker>> make_scheduler_maker(std::string_view policy, const NodeList& nodes,
                                                             const PodList& pods) {
  if (is_published(policy)) return make_reference(policy, pods);
  return make_engine(engine_name(policy), nodes, pods);
}

}  // namespace tweendeck::sim

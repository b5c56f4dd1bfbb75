// Policies by name: the published references and the placement engine's own.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "sim/scheduler.h"

namespace tweendeck::sim {

// What help and hints name, in the order of tables. Names of the engine may carry more: "hami:binpack/mutex".
std::vector<std::string_view> policy_names();

std::string_view default_policy();  // the engine's

// Errors: NotFound with the near miss, or as the engine's policies say.
Status check_policy(std::string_view policy);

// The engine's policy of that name; its default where it has none (published references).
std::string engine_policy_of(std::string_view policy);

// `pods` and `nodes` outlive the maker. Errors: NotFound with the near miss.
Result<std::unique_ptr<SchedulerMaker>> make_scheduler_maker(std::string_view policy, const NodeList& nodes,
                                                             const PodList& pods);

}  // namespace tweendeck::sim

// Policies by name: the published references and the placement engine's own.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "sim/scheduler.h"

namespace tweendeck::sim {

// The names that make_scheduler_maker takes, in the order of help and tables.
std::vector<std::string_view> policy_names();

// `pods` and `nodes` outlive the maker. Errors: NotFound with the near miss.
Result<std::unique_ptr<SchedulerMaker>> make_scheduler_maker(std::string_view policy, const NodeList& nodes,
                                                             const PodList& pods);

}  // namespace tweendeck::sim

// A published policy as a Scheduler: every node scored, the highest score wins, ties to the lowest rank.
#pragma once

#include <memory>
#include <string_view>

#include "sim/scheduler.h"

namespace tweendeck::sim {

// Schedulers of it share the scores, so that the seeds of a workload compute each once. `pods` outlives the maker.
// Errors: NotFound for the name (make_policy).
Result<std::unique_ptr<SchedulerMaker>> make_reference(std::string_view policy, const PodList& pods);

}  // namespace tweendeck::sim

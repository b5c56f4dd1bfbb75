// The placement engine as a Scheduler: its book of the cluster and one of its policies decide.
#pragma once

#include <memory>
#include <string>

#include "sim/scheduler.h"

namespace tweendeck::sim {

// `policy` as placement::make_policy takes it. `nodes` and `pods` outlive the maker. Errors: as make_policy, and as the
// engine's book when it does not take a node or a pod.
Result<std::unique_ptr<SchedulerMaker>> make_engine(const std::string& policy, const NodeList& nodes,
                                                    const PodList& pods);

}  // namespace tweendeck::sim

#include "sim/policies.h"

#include "sim/reference_scheduler.h"
#include "sim/replay/policy.h"

namespace tweendeck::sim {

std::vector<std::string_view> policy_names() {
  return published_policies();
}

Result<std::unique_ptr<SchedulerMaker>> make_scheduler_maker(std::string_view policy, const NodeList&,
                                                             const PodList& pods) {
  return make_reference(policy, pods);
}

}  // namespace tweendeck::sim

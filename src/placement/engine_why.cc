// Why a claim waits, as the engine knows it.
#include <algorithm>
#include <bit>

#include "base/text.h"
#include "base/units.h"
#include "placement/claim_report.h"
#include "placement/engine.h"

namespace tweendeck::placement {

namespace {

constexpr size_t kMaxEndsLookedAt = 1u << 16;  // of claims whose end is known

std::string amount(std::string_view resource, int64_t value) {
  if (resource == "memory")
    return format_bytes(static_cast<uint64_t>(std::max<int64_t>(0, value))) + " of device memory";
  if (resource == "compute") {
    const std::string parts = std::to_string(value / 1000) + "." + std::to_string(value % 1000 / 100);
    return parts + " devices' worth of compute";
  }
  const std::string count = counted(static_cast<uint64_t>(std::max<int64_t>(0, value)), "device");
  const size_t colon = resource.find(':');
  return colon == std::string_view::npos ? count
                                         : count + " of model " + std::string(resource.substr(colon + 1));
}

}  // namespace

// "queue research: 60 of at most 64 devices are in use, and the claim asks for 8"
std::string Engine::quota_detail(const Admission& admission, const Claim& claim) const {
  const Amounts ask = ask_of(claim, claim.shape);
  const bool of_queue = admission.queue != kNoQueue;
  const size_t r = admission.resource;
  const std::string resource = queues_.resource_name(admission.resource);
  const std::string who =
      of_queue ? "queue " + queues_.spec(admission.queue).name : "namespace " + spaces_.name(claim.space);
  const int64_t used = of_queue ? queues_.used(admission.queue)[r] : spaces_.used(claim.space)[r];
  const int64_t limit = of_queue ? queues_.limit(admission.queue)[r] : spaces_.limit(claim.space)[r];
  if (admission.tier == QuotaTier::Never) {
    return who + " may have at most " + amount(resource, limit) + ", and the claim asks for " +
           amount(resource, ask[r]);
  }
  return who + " uses " + (resource == "devices" ? std::to_string(used) : amount(resource, used)) +
         " of at most " + amount(resource, limit) + ", and the claim asks for " + amount(resource, ask[r]);
}

// Who holds something on the node, gangs as one. Looks at all claims: no index by node is kept where nobody is stopped.
std::vector<Holder> Engine::holders_on(NodeIndex node, ClaimSlot but, const WhyContext& context) const {
  std::vector<Holder> holders;
  std::vector<std::pair<uint32_t, size_t>> gangs;  // index of the group, place in the list
  const auto ends_of = [&](ClaimId id) {
    const auto known = std::ranges::find(context.ends, id, &std::pair<int64_t, ClaimId>::second);
    return known == context.ends.end() ? int64_t{-1} : known->first;
  };
  for (ClaimSlot slot = 0; slot < claims_.slots(); ++slot) {
    const Claim& claim = claims_[slot];
    const bool holds = claim.state == ClaimState::Reserved || claim.state == ClaimState::Bound;
    if (!holds || slot == but || claim.spot.node != node || handovers_.is_victim(claim.id)) continue;
    const Holder::Held held{claim.spot, claim.shape};
    if (claim.group != Groups::kNone) {
      const auto known = std::ranges::find(gangs, claim.group, &std::pair<uint32_t, size_t>::first);
      if (known != gangs.end()) {
        holders[known->second].held.push_back(held);
        continue;
      }
      gangs.emplace_back(claim.group, holders.size());
      holders.push_back({"gang " + std::to_string(groups_[claim.group].id), claim.priority, {held}, -1});
      continue;
    }
    holders.push_back({context.name ? context.name(claim.id) : "claim " + std::to_string(claim.id),
                       claim.priority,
                       {held},
                       ends_of(claim.id)});
  }
  return holders;
}

Result<ClaimReport> Engine::why(ClaimId id, Reporter& reporter, const WhyContext& context) {
  const ClaimSlot slot = claims_.find(id);
  const auto named = [&](ClaimId of) {
    return context.name ? context.name(of) : "claim " + std::to_string(of);
  };
  if (slot == kNoSlot) {
    return fail(Reason::NotFound, "there is no " + named(id),
                "it was not submitted, or was refused, or ended long ago");
  }
  const Claim& claim = claims_[slot];
  ClaimReport report;
  report.name = named(id);
  report.state = claim.state;
  report.priority = claim.priority;
  report.now_ms = now_ms_;
  report.submitted_ms = claim.submitted_ms;
  if (claim.queue != kNoQueue) report.queue = queues_.spec(claim.queue).name;
  if (claim.space != kNoNamespace) report.space = spaces_.name(claim.space);
  report.failures = claim.failures;
  if (claim.group != Groups::kNone && claim.state != ClaimState::Ended) {
    const Group& group = groups_[claim.group];
    ClaimReport::Gang gang;
    gang.id = group.id;
    gang.started = group.started;
    for (const auto& role : group.members) gang.members += static_cast<uint32_t>(role.size());
    gang.holding = gang.members - group.waiting;
    for (size_t role = 0; role < group.members.size(); ++role) gang.needed += group.needed(role);
    report.gang.push_back(gang);
  }
  if (claim.state == ClaimState::Reserved || claim.state == ClaimState::Bound) {
    const NodeFacts& node = cluster_.facts(claim.spot.node);
    report.node = node.name;
    for (uint32_t rest = claim.spot.devices; rest != 0; rest &= rest - 1)
      report.devices.push_back(node.devices[static_cast<size_t>(std::countr_zero(rest))].id);
    report.terms = terms(id);
  }
  if (claim.state != ClaimState::Pending) return report;

  const ClaimStatus now = *status(id);
  report.reason = now.reason;
  report.tried_ms = now.tried_ms;
  if (claim.resting) report.rests_until_ms = claim.deadline_ms;
  Question question;
  question.shape = claim.shape;
  question.tried_ms = now.tried_ms;
  const Admission admission = admit(claim.queue, claim.space, ask_of(claim, claim.shape));
  if (!admission.admitted() && !claim.promised) {
    question.admission = admission.reason;
    question.admission_detail = quota_detail(admission, claim);
  }
  question.holders = [&](NodeIndex node) { return holders_on(node, slot, context); };
  for (const auto& [at_ms, ending] : context.ends) {
    if (question.leaving.size() == kMaxEndsLookedAt) break;
    const ClaimSlot other = claims_.find(ending);
    if (other == kNoSlot || handovers_.is_victim(ending)) continue;
    const Claim& leaves = claims_[other];
    if (leaves.state != ClaimState::Reserved && leaves.state != ClaimState::Bound) continue;
    question.leaving.push_back({ending, at_ms, {leaves.spot, leaves.shape}});
  }
  question.now_ms = now_ms_;
  question.name_of = named;
  report.room.push_back(reporter.why(cluster_, question));
  return report;
}

}  // namespace tweendeck::placement

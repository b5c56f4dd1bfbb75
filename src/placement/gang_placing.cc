// Gangs on their way into the cluster: all members or none, the rest when there is room.
#include <algorithm>
#include <bit>

#include "placement/engine.h"

namespace tweendeck::placement {

// The domain of a level in which a spot lies, as gang/ numbers domains.
uint32_t Engine::domain_at(const Spot& spot, Level level) const {
  const NodeState& node = cluster_.nodes()[spot.node];
  uint32_t domain = domain_of(node, spot.node, level);
  if (level != Level::Island) return domain;
  const auto islands = cluster_.near_groups(node.type, Near::SameIsland);
  for (uint32_t i = 0; i < islands.size(); ++i) {
    if ((islands[i] & spot.devices) != 0) domain = spot.node * kMaxDevicesPerNode + i;
  }
  return domain;
}

// What is still to be placed: the whole gang, or of a started one the next member that waits in a role from
// `first_role` on, bound to where the others are.
bool Engine::next_gang(const Group& group, bool at_least, uint32_t first_role, Gang& gang,
                       std::vector<uint32_t>& roles) const {
  gang = Gang{{}, group.gang.required, group.gang.preferred, kAnyDomain};
  roles.clear();
  const Spot* anyone = nullptr;
  for (uint32_t role = 0; role < group.members.size(); ++role) {
    for (const ClaimSlot slot : group.members[role]) {
      if (claims_[slot].state != ClaimState::Pending) anyone = &claims_[slot].spot;
    }
  }
  for (uint32_t role = 0; role < group.members.size(); ++role) {
    const GangRole& wanted = group.gang.roles[role];
    const auto& members = group.members[role];
    if (!group.started) {
      const uint32_t min = group.needed(role);
      if (min == 0) continue;
      gang.roles.push_back(
          {wanted.shape, min, at_least ? min : static_cast<uint32_t>(members.size()), wanted.within});
      roles.push_back(role);
      continue;
    }
    const auto waits = [&](ClaimSlot slot) { return claims_[slot].state == ClaimState::Pending; };
    if (role < first_role || std::ranges::none_of(members, waits)) continue;
    gang.roles.push_back({wanted.shape, 1, 1, Level::Cluster});
    roles.push_back(role);
    const auto held = std::ranges::find_if_not(members, waits);
    if (held != members.end() && wanted.within > gang.required) {
      gang.required = wanted.within;
      gang.domain = domain_at(claims_[*held].spot, gang.required);
    } else if (anyone != nullptr && gang.required != Level::Cluster) {
      gang.domain = domain_at(*anyone, gang.required);
    }
    gang.preferred = std::max(gang.preferred, gang.required);
    return true;
  }
  return !gang.roles.empty();
}

void Engine::try_group(Groups::Index index) {
  Group& group = groups_[index];
  if (group.promised || group.stopping) {
    group.ready = false;
    return;
  }
  if (group.rest_until_ms > now_ms_) {
    group.ready = groups_ready_ = true;
    return;
  }
  group.ready = false;
  if (!group.started && !group.gathered()) return;
  Gang gang;
  std::vector<uint32_t> roles;
  uint32_t first_role = 0;  // of a started gang: who waits in those before cannot be placed
  group.quota = false;
  while (next_gang(group, false, first_role, gang, roles)) {
    group.tried_ms = now_ms_;
    Admission admission = admit_gang(group, gang);
    if (!admission.admitted() && next_gang(group, true, first_role, gang, roles))
      admission = admit_gang(group, gang);
    if (!admission.admitted()) {
      group.quota = true;
      if (!group.started) return group.set_reason(admission.reason);
      group.reasons[roles.front()] = admission.reason;
      first_role = roles.front() + 1;
      continue;
    }
    const GangVerdict verdict = gangs_.place(cluster_, *policy_, gang);
    if (verdict.outcome != Outcome::Placed) {
      if (!group.started) {
        group.set_reason(verdict.reason);
        seek_victims(group, gang, roles);
        return;
      }
      group.reasons[roles.front()] = verdict.reason;
      first_role = roles.front() + 1;
      continue;
    }
    if (!group.started) start_gang(group);
    for (const GangMember& member : verdict.members) {
      const auto& slots = group.members[roles[member.role]];
      const auto slot =
          std::ranges::find_if(slots, [&](ClaimSlot s) { return claims_[s].state == ClaimState::Pending; });
      reserve_taken(*slot, {member.spot, 0});
    }
  }
}

Admission Engine::admit_gang(const Group& group, const Gang& gang) const {
  if (group.queue == kNoQueue && group.space == kNoNamespace) return {};
  Amounts sum{};
  for (const GangRole& role : gang.roles) {
    Claim member;
    member.model_resource = model_resource(role.shape);
    const Amounts ask = ask_of(member, role.shape);
    for (uint32_t i = 0; i < role.max; ++i) add(sum, ask);
  }
  return admit(group.queue, group.space, sum);
}

void Engine::groups_may_go_on(NodeIndex node) {
  for (Groups::Index index = 0; index < groups_.slots(); ++index) {
    Group& group = groups_[index];
    const bool barred = group.promised || group.stopping || (group.quota && !group.started);
    if (!group.used || group.ready || barred || group.waiting == 0) {
      continue;
    }
    group.ready = std::ranges::any_of(group.gang.roles,
                                      [&](const GangRole& role) { return cluster_.fits(node, role.shape); });
    groups_ready_ = groups_ready_ || group.ready;
  }
}

void Engine::retry_groups(int32_t least_priority) {
  for (uint32_t tries = 0; tries < kGroupTriesPerEvent; ++tries) {
    Groups::Index best = Groups::kNone;
    bool others = false;
    for (Groups::Index index = 0; index < groups_.slots(); ++index) {
      const Group& group = groups_[index];
      if (!group.used || !group.ready) continue;
      others = true;
      if (group.rest_until_ms > now_ms_ || group.priority < least_priority) continue;
      if (best == Groups::kNone || group.priority > groups_[best].priority ||
          (group.priority == groups_[best].priority && group.order < groups_[best].order)) {
        best = index;
      }
    }
    groups_ready_ = others;
    if (best == Groups::kNone) return;
    try_group(best);
  }
}

}  // namespace tweendeck::placement

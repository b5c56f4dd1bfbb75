// Gangs in the engine: gathering members, placing all or none, breaking up.
#include "placement/groups.h"

#include <algorithm>
#include <bit>

#include "placement/engine.h"

namespace tweendeck::placement {

Groups::Index Groups::find(GroupId id) const {
  const auto it = ids_.find(id);
  return it == ids_.end() ? kNone : it->second;
}

Groups::Index Groups::add(GroupId id) {
  Index index = static_cast<Index>(groups_.size());
  if (free_.empty()) {
    groups_.emplace_back();
  } else {
    index = free_.back();
    free_.pop_back();
  }
  groups_[index] = Group{};
  groups_[index].id = id;
  groups_[index].used = true;
  ids_.emplace(id, index);
  return index;
}

void Groups::erase(Index index) {
  ids_.erase(groups_[index].id);
  groups_[index] = Group{};
  free_.push_back(index);
}

Status Engine::on(const GroupPut& event) {
  at(event.time_ms);
  const std::string name = "group " + std::to_string(event.group);
  if (event.group == 0 || event.roles.empty() || event.roles.size() > kMaxGangRoles) {
    return fail(Reason::InvalidArgument,
                name + " has number 0 or " + std::to_string(event.roles.size()) + " roles",
                "give 1 to " + std::to_string(kMaxGangRoles) + " roles and a number above 0");
  }
  if (groups_.find(event.group) != Groups::kNone) {
    return fail(Reason::AlreadyExists, name + " exists already", "a new gang has a new number");
  }
  if (groups_.size() >= kMaxGroups) {
    return fail(Reason::LimitExceeded, "more than " + std::to_string(kMaxGroups) + " groups",
                "end some first");
  }
  const bool queue_known = event.queue == kNoNumber ||
                           (event.queue < queue_numbers_.size() && queue_numbers_[event.queue] != kNoQueue &&
                            queues_.is_leaf(queue_numbers_[event.queue]));
  if (!queue_known) {
    return fail(Reason::NotFound,
                name + " is for queue " + std::to_string(event.queue) + ", which takes no claims",
                "name a queue without children");
  }
  uint64_t members = 0;
  Gang gang{{}, event.required, event.preferred, kAnyDomain};
  for (const GroupRole& role : event.roles) {
    const std::optional<ShapeId> shape = this->shape(role.shape);
    members += role.max;
    if (!shape || role.min == 0 || role.max < role.min || members > kMaxGangMembers) {
      return fail(Reason::InvalidArgument,
                  name + " has a role of an unknown shape, or without 0 < min <= max, or too many members",
                  "at most " + std::to_string(kMaxGangMembers) + " members");
    }
    gang.roles.push_back({*shape, role.min, role.max, role.within});
  }
  Group& group = groups_[groups_.add(event.group)];
  group.gang = std::move(gang);
  group.queue = event.queue == kNoNumber ? kNoQueue : queue_numbers_[event.queue];
  group.priority = event.priority;
  group.order = ++submitted_;
  group.members.resize(event.roles.size());
  group.ended.resize(event.roles.size(), 0);
  return {};
}

Status Engine::on(const GroupGone& event) {
  const Groups::Index index = groups_.find(event.group);
  if (index == Groups::kNone || !groups_[index].empty()) {
    return fail(index == Groups::kNone ? Reason::NotFound : Reason::InvalidArgument,
                "group " + std::to_string(event.group) + " is unknown or has members",
                "withdraw its members first");
  }
  groups_.erase(index);
  return {};
}

bool Engine::joins_group(const ClaimSubmitted& event, ShapeId shape, Reason& why) const {
  const Groups::Index index = groups_.find(event.group);
  why = Reason::NotFound;
  if (index == Groups::kNone || event.role >= groups_[index].members.size()) return false;
  const Group& group = groups_[index];
  const GangRole& role = group.gang.roles[event.role];
  why = Reason::InvalidArgument;
  if (role.shape != shape) return false;
  why = Reason::LimitExceeded;
  return group.members[event.role].size() + group.ended[event.role] < role.max;
}

void Engine::join_group(ClaimSlot slot, Groups::Index index, uint32_t role) {
  Group& group = groups_[index];
  Claim& claim = claims_[slot];
  claim.group = index;
  claim.role = role;
  claim.queue = group.queue;
  claim.priority = group.priority;
  group.members[role].push_back(slot);
  ++group.waiting;
  if (!group.started && !group.gathered()) {
    say({.claim = claim.id, .verdict = Verdict::Waiting, .reason = Reason::GangIncomplete, .spot = {}});
    return;
  }
  try_group(index);
  if (claims_[slot].state != ClaimState::Pending) return;
  const Verdict verdict = group.reason == Reason::SearchBudgetExhausted ? Verdict::BudgetExhausted
                          : group.reason == Reason::GangTooLarge        ? Verdict::Infeasible
                                                                        : Verdict::Waiting;
  say({.claim = claims_[slot].id, .verdict = verdict, .reason = group.reason, .spot = {}});
}

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
  if (group.rest_until_ms > now_ms_) {
    group.ready = groups_ready_ = true;
    return;
  }
  group.ready = false;
  if (!group.started && !group.gathered()) return;
  Gang gang;
  std::vector<uint32_t> roles;
  uint32_t first_role = 0;  // of a started gang: who waits in those before cannot be placed
  while (next_gang(group, false, first_role, gang, roles)) {
    group.tried_ms = now_ms_;
    group.quota = false;
    Admission admission = admit_gang(group, gang);
    if (!admission.admitted() && next_gang(group, true, first_role, gang, roles))
      admission = admit_gang(group, gang);
    if (!admission.admitted()) {
      group.quota = true;
      group.reason = admission.reason;
      return;
    }
    const GangVerdict verdict = gangs_.place(cluster_, *policy_, gang);
    if (verdict.outcome != Outcome::Placed) {
      group.reason = verdict.reason;
      if (!group.started) return;
      first_role = roles.front() + 1;
      continue;
    }
    group.started = true;
    group.reason = Reason::GangTooLarge;  // of members that still wait
    for (const GangMember& member : verdict.members) {
      const auto& slots = group.members[roles[member.role]];
      const auto slot =
          std::ranges::find_if(slots, [&](ClaimSlot s) { return claims_[s].state == ClaimState::Pending; });
      reserve_taken(*slot, {member.spot, 0});
    }
  }
}

Admission Engine::admit_gang(const Group& group, const Gang& gang) const {
  if (group.queue == kNoQueue) return {};
  Amounts sum{};
  for (const GangRole& role : gang.roles) {
    Claim member;
    member.model_resource = model_resource(role.shape);
    const Amounts ask = ask_of(member, role.shape);
    for (uint32_t i = 0; i < role.max; ++i) add(sum, ask);
  }
  return queues_.admit(group.queue, sum);
}

void Engine::groups_may_go_on(NodeIndex node) {
  for (Groups::Index index = 0; index < groups_.slots(); ++index) {
    Group& group = groups_[index];
    if (!group.used || group.ready || group.quota || group.waiting == 0) continue;
    group.ready = std::ranges::any_of(group.gang.roles,
                                      [&](const GangRole& role) { return cluster_.fits(node, role.shape); });
    groups_ready_ = groups_ready_ || group.ready;
  }
}

// A member lost what it held and waits again. Whether the gang goes on without it.
void Engine::member_lost(ClaimSlot lost) {
  Group& group = groups_[claims_[lost].group];
  if (!group.started) return;
  group.rest_until_ms = std::max(group.rest_until_ms, now_ms_ + back_off(group.failures));
  group.reason = claims_[lost].reason;
  group.ready = groups_ready_ = true;
  bool whole = true;
  for (size_t role = 0; role < group.members.size(); ++role) {
    const auto held = std::ranges::count_if(
        group.members[role], [&](ClaimSlot slot) { return claims_[slot].state != ClaimState::Pending; });
    whole = whole && static_cast<uint32_t>(held) >= group.needed(role);
  }
  if (whole) return;
  group.started = false;
  group.reason = Reason::GangBroken;
  for (const auto& members : group.members) {
    for (const ClaimSlot slot : members) {
      if (claims_[slot].state != ClaimState::Pending) give_up(slot, Reason::GangBroken);
    }
  }
}

void Engine::leave_group(ClaimSlot slot, bool held) {
  Claim& claim = claims_[slot];
  Group& group = groups_[claim.group];
  std::erase(group.members[claim.role], slot);
  if (held && group.started) ++group.ended[claim.role];
  claim.group = Groups::kNone;
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

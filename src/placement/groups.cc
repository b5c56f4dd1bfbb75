// Gangs come, gather their members, lose them and go.
#include "placement/groups.h"

#include <algorithm>

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
  const std::optional<NamespaceId> space = this->space(event.space);
  if (!space) {
    return fail(Reason::NotFound,
                name + " is of namespace " + std::to_string(event.space) + ", which is unknown",
                "define the namespace first");
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
  group.space = *space;
  group.priority = event.priority;
  group.order = ++submitted_;
  group.members.resize(event.roles.size());
  group.ended.resize(event.roles.size(), 0);
  group.unknown.resize(event.roles.size(), 0);
  group.set_reason(Reason::GangIncomplete);
  return {};
}

Status Engine::on(const GroupGone& event) {
  const Groups::Index index = groups_.find(event.group);
  if (index == Groups::kNone || !groups_[index].empty()) {
    return fail(index == Groups::kNone ? Reason::NotFound : Reason::InvalidArgument,
                "group " + std::to_string(event.group) + " is unknown or has members",
                "withdraw its members first");
  }
  if (settings_.preempt) running_.set_gang_minimum(event.group, {});
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
  claim.priority = group.priority;
  group.members[role].push_back(slot);
  ++group.waiting;
}

// Of a member that has just come.
void Engine::try_member(ClaimSlot slot) {
  const Claim& claim = claims_[slot];
  const Group& group = groups_[claim.group];
  if (!group.started && !group.promised && !group.gathered()) {
    say({.claim = claim.id, .verdict = Verdict::Waiting, .reason = Reason::GangIncomplete, .spot = {}});
    return;
  }
  try_group(claim.group);
  if (claims_[slot].state != ClaimState::Pending) return;
  const Reason reason = group.reasons[claim.role];
  const Verdict verdict = reason == Reason::SearchBudgetExhausted ? Verdict::BudgetExhausted
                          : reason == Reason::GangTooLarge        ? Verdict::Infeasible
                                                                  : Verdict::Waiting;
  say({.claim = claims_[slot].id, .verdict = verdict, .reason = reason, .spot = {}});
}

void Engine::member_placed(const Claim& claim) {
  Group& group = groups_[claim.group];
  --group.waiting;
  if (group.unknown[claim.role] == 0) return;
  --group.unknown[claim.role];
  note_minimum(group);
}

void Engine::start_gang(Group& group) {
  group.started = true;
  group.promised = false;
  group.set_reason(Reason::GangTooLarge);  // of members that still wait
  note_minimum(group);
}

// What preemption must leave of a gang, if it leaves anything.
void Engine::note_minimum(const Group& group) {
  if (!settings_.preempt) return;
  std::vector<uint32_t> by_role;
  for (size_t role = 0; group.started && role < group.members.size(); ++role)
    by_role.push_back(group.needed(role));
  running_.set_gang_minimum(group.id, std::move(by_role));
}

// A member lost what it held and waits again.
void Engine::member_lost(ClaimSlot lost) {
  Group& group = groups_[claims_[lost].group];
  if (!group.started) return;
  group.rest_until_ms = std::max(group.rest_until_ms, now_ms_ + back_off(group.failures));
  if (!group.stopping) group.set_reason(claims_[lost].reason);
  group.ready = groups_ready_ = true;
  check_gang(group);
}

// Whether a gang that holds less than before goes on. One that is stopped as a whole is done once nobody holds anything.
void Engine::check_gang(Group& group) {
  if (!group.started) return;
  bool needs_more = false;
  bool short_of_any = false;
  size_t holders = 0;
  for (size_t role = 0; role < group.members.size(); ++role) {
    uint32_t staying = 0;
    for (const ClaimSlot slot : group.members[role]) {
      if (claims_[slot].state == ClaimState::Pending) continue;
      ++holders;
      staying += handovers_.is_victim(claims_[slot].id) ? 0 : 1;
    }
    needs_more |= group.needed(role) > 0;
    short_of_any |= staying < group.needed(role);
  }
  if (group.stopping) {
    if (holders > 0) return;
    group.started = !needs_more;
  } else if (short_of_any) {
    group.started = false;
    for (const auto& members : group.members) {
      for (const ClaimSlot slot : members) {
        if (claims_[slot].state != ClaimState::Pending) give_up(slot, Reason::GangBroken);
      }
    }
  } else {
    return;
  }
  group.stopping = false;
  if (!group.started) std::ranges::fill(group.unknown, 0u);
  group.set_reason(Reason::GangBroken);
  group.ready = groups_ready_ = true;
  note_minimum(group);
}

void Engine::leave_group(ClaimSlot slot, bool held, bool was_stopped) {
  Claim& claim = claims_[slot];
  Group& group = groups_[claim.group];
  std::erase(group.members[claim.role], slot);
  claim.group = Groups::kNone;
  if (!held) return;
  if (was_stopped) return check_gang(group);
  if (!group.started) return;
  ++group.ended[claim.role];
  note_minimum(group);
}

}  // namespace tweendeck::placement

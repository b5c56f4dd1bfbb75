// Making room by stopping others: who is due asks for victims, and what they free goes to nobody else.
#include <algorithm>

#include "placement/engine.h"
#include "placement/preempt/gang_victims.h"

namespace tweendeck::placement {

// What preemption sees of a claim that holds something: nothing while it is being stopped, so that budgets and gangs
// count as if it were gone.
void Engine::note_running(const Claim& claim) {
  if (!settings_.preempt || handovers_.is_victim(claim.id)) return;
  RunningClaim runs;
  runs.id = claim.id;
  runs.spot = claim.spot;
  runs.shape = claim.shape;
  runs.queue = claim.queue == kNoQueue ? kRootQueue : claim.queue;
  runs.priority = claim.priority;
  runs.gang = claim.group == Groups::kNone ? kNoGang : groups_[claim.group].id;
  runs.role = claim.role;
  runs.budget = claim.budget;
  runs.preemptible = claim.preemptible;
  runs.started_ms = claim.started_ms;
  runs.min_runtime_ms = claim.min_runtime_ms;
  runs.charged = ask_of(claim, claim.shape);
  running_.add(runs);
  if (claim.min_runtime_ms > 0) protected_.push(claim.started_ms + claim.min_runtime_ms);
  victims_changed_ = true;
}

Status Engine::on(const BudgetPut& event) {
  if (event.budget == kNoBudget) {
    return fail(Reason::InvalidArgument, "a budget has number 0", "number budgets from 1 on");
  }
  if (running_.budgets() >= kMaxBudgets) {
    return fail(Reason::LimitExceeded, "there are more than " + std::to_string(kMaxBudgets) + " budgets",
                "take the bounds off some first");
  }
  running_.set_budget(event.budget, event.min_available, event.max_unavailable);
  victims_changed_ = true;
  return {};
}

bool Engine::may_search() {
  if (!settings_.preempt) return false;
  if (searches_left_ == 0) {
    victims_changed_ = true;  // goes on with the next Timer
    return false;
  }
  --searches_left_;
  return true;
}

// For a claim without room, first of its class or in none yet. Found: its victims are told to stop, and it waits for
// them, in no class.
Engine::Search Engine::seek_victims(ClaimSlot slot) {
  const Claim& claim = claims_[slot];
  if (claim.apart == Apart::Required) return Search::Nobody;  // whose node may be closed to it all the same
  if (!may_search()) return Search::Later;
  Preemptor preemptor;
  preemptor.shape = claim.shape;
  preemptor.queue = claim.queue == kNoQueue ? kRootQueue : claim.queue;
  preemptor.priority = claim.priority;
  preemptor.ask = ask_of(claim, claim.shape);
  const Victims victims = find_victims(cluster_, gangs_, running_, &queues_, preemptor, now_ms_);
  if (victims.outcome != Outcome::Placed || victims.claims.empty()) return Search::Nobody;
  const ClassId id = waiting_.find(key_of(claim));
  if (id != kNoClass && waiting_[id].claims.front() == slot) waiting_.erase(claims_, slot);
  stop_for(claim.id, {{claim.id, claim.shape, victims.spots.front()}}, victims.claims);
  return Search::Found;
}

// For a gang without room that has not started: for the least that it starts with.
Engine::Search Engine::seek_victims(Group& group, const Gang& gang, const std::vector<uint32_t>& roles) {
  if (!may_search()) return Search::Later;
  GangPreemptor preemptor;
  preemptor.gang = gang;
  preemptor.queue = group.queue == kNoQueue ? kRootQueue : group.queue;
  preemptor.priority = group.priority;
  for (GangRole& role : preemptor.gang.roles) role.max = role.min;
  for (const uint32_t role : roles) {
    const Claim& member = claims_[group.members[role].front()];
    preemptor.ask.push_back(ask_of(member, member.shape));
  }
  const GangVictims victims =
      find_gang_victims(cluster_, gangs_, *policy_, running_, &queues_, preemptor, now_ms_);
  if (victims.outcome != Outcome::Placed || victims.claims.empty()) return Search::Nobody;
  std::vector<Promise> promises;
  std::vector<size_t> taken(roles.size());
  for (const GangMember& member : victims.members) {
    const Claim& claim = claims_[group.members[roles[member.role]][taken[member.role]++]];
    promises.push_back({claim.id, claim.shape, member.spot});
  }
  group.promised = true;
  group.promise = promises.front().claim;
  group.set_reason(Reason::PreemptionPending);
  stop_for(group.promise, std::move(promises), victims.claims);
  return Search::Found;
}

// The quota of who is promised room is his from now on, as the room will be.
void Engine::stop_for(Handovers::Key key, std::vector<Promise> promises,
                      const std::vector<ClaimId>& victims) {
  std::vector<RunningClaim> leaving;
  for (const ClaimId id : victims) {
    leaving.push_back(running_.at(running_.find(id)));
    running_.remove(id);
  }
  handovers_.start(key, promises, leaving, now_ms_);
  for (const RunningClaim& victim : leaving) {
    const Claim& stopped = claims_[claims_.find(victim.id)];
    say({victim.id, Verdict::Stop, Reason::PreemptionPending, stopped.reservation, 0, victim.spot});
    if (stopped.group == Groups::kNone) continue;
    Group& gang = groups_[stopped.group];
    if (gang.stopping) continue;
    gang.stopping = std::ranges::all_of(gang.members, [&](const auto& members) {
      return std::ranges::all_of(members, [&](ClaimSlot slot) {
        return claims_[slot].state == ClaimState::Pending || handovers_.is_victim(claims_[slot].id);
      });
    });
    if (gang.stopping) gang.set_reason(Reason::GangBroken);
  }
  for (const Promise& promise : promises) {
    const ClaimSlot slot = claims_.find(promise.claim);
    Claim& claim = claims_[slot];
    claim.promised = true;
    claim.reason = Reason::PreemptionPending;
    claim.tried_ms = now_ms_;
    promised_.push_back(claims_, slot);
    drop_pending(claim);
    charge(claim);
    say({.claim = claim.id, .verdict = Verdict::Waiting, .reason = Reason::PreemptionPending, .spot = {}});
  }
}

Handovers::Key Engine::promise_of(const Claim& claim) const {
  return claim.group == Groups::kNone ? claim.id : groups_[claim.group].promise;
}

void Engine::victim_gone(ClaimId victim) {
  const Handovers::Result result = handovers_.victim_gone(cluster_, victim);
  if (result.step == Handovers::Step::Waiting) return;
  if (result.step == Handovers::Step::Taken) {
    const Groups::Index gang = claims_[claims_.find(result.key)].group;
    if (gang != Groups::kNone) {
      start_gang(groups_[gang]);
      groups_[gang].ready = groups_ready_ = true;  // to grow
    }
    for (const Promise& promise : result.promises) {
      const ClaimSlot slot = claims_.find(promise.claim);
      promised_.erase(claims_, slot);
      claims_[slot].promised = false;
      grant(slot, {promise.spot, 0});
    }
  } else {
    end_promises(result.promises);
  }
  for (const NodeIndex node : result.freed) grown(node);
}

// Who was promised something waits again like any other.
void Engine::end_promises(const std::vector<Promise>& promises) {
  for (const Promise& promise : promises) {
    const ClaimSlot slot = claims_.find(promise.claim);
    Claim& claim = claims_[slot];
    promised_.erase(claims_, slot);
    claim.promised = false;
    claim.reason = Reason::None;
    refund(claim);
    add_pending(claim);
    if (claim.group == Groups::kNone) {
      wait_again(slot);
      continue;
    }
    Group& group = groups_[claim.group];
    group.promised = false;
    group.set_reason(Reason::SearchBudgetExhausted);  // until it is tried
    group.ready = groups_ready_ = true;
  }
  quota_changed();
}

// A preemption comes to nothing: who still runs may be stopped for others, and what was held is free.
void Engine::give_up_promise(Handovers::Key key) {
  const Handovers::Cancelled cancelled = *handovers_.cancel(cluster_, key);
  end_promises(cancelled.promises);
  for (const ClaimId id : cancelled.spared) note_running(claims_[claims_.find(id)]);
  // Of a gang that was to end as a whole some members may be gone.
  for (const ClaimId id : cancelled.spared) {
    const Claim& claim = claims_[claims_.find(id)];
    if (claim.state == ClaimState::Pending || claim.group == Groups::kNone) continue;
    Group& gang = groups_[claim.group];
    gang.stopping = false;
    gang.ready = groups_ready_ = true;
    check_gang(gang);
  }
  for (const NodeIndex node : cancelled.freed) grown(node);
}

// With time, budgets, quota and claims that came, victims may be found where there were none: those who wait ask
// again, each in turn.
void Engine::search_again() {
  for (; !protected_.empty() && protected_.top() <= now_ms_; protected_.pop()) victims_changed_ = true;
  if (!settings_.preempt || !victims_changed_) return;
  victims_changed_ = false;
  waiting_.victims_changed();
  bool all_asked = true;
  for (Groups::Index index = 0; index < groups_.slots(); ++index) {
    all_asked &= !(groups_[index].used && groups_[index].ready);
  }
  for (Groups::Index index = 0; all_asked && index < groups_.slots(); ++index) {
    Group& group = groups_[index];
    if (!group.used || group.started || group.promised || group.waiting == 0) continue;
    group.ready = groups_ready_ = true;
  }
}

}  // namespace tweendeck::placement

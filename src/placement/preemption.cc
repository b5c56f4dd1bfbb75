// Making room by stopping others: who is due asks for victims, and what they free goes to nobody else.
#include "placement/engine.h"

namespace tweendeck::placement {

// For a claim without room, first of its class or in none yet. Found: its victims are told to stop, and it waits for
// them, in no class.
bool Engine::seek_victims(ClaimSlot slot) {
  if (!settings_.preempt || searches_left_ == 0) return false;
  --searches_left_;
  Claim& claim = claims_[slot];
  Preemptor preemptor;
  preemptor.shape = claim.shape;
  preemptor.queue = claim.queue == kNoQueue ? kRootQueue : claim.queue;
  preemptor.priority = claim.priority;
  preemptor.ask = ask_of(claim, claim.shape);
  const Victims victims = find_victims(cluster_, gangs_, running_, &queues_, preemptor, now_ms_);
  if (victims.outcome != Outcome::Placed || victims.claims.empty()) return false;
  std::vector<RunningClaim> leaving;
  for (const ClaimId id : victims.claims) leaving.push_back(running_.at(running_.find(id)));
  handovers_.start(claim.id, {{claim.id, claim.shape, victims.spots.front()}}, leaving, now_ms_);
  const ClassId id = waiting_.find(claim.shape, claim.queue, claim.priority);
  if (id != kNoClass && waiting_[id].claims.front() == slot) waiting_.erase(claims_, slot);
  claim.promised = true;
  claim.reason = Reason::PreemptionPending;
  claim.tried_ms = now_ms_;
  promised_.push_back(claims_, slot);
  // Its quota is its own from now on, as the room will be.
  if (claim.queue != kNoQueue) {
    queues_.drop_pending(claim.queue, preemptor.ask);
    queues_.charge(claim.queue, preemptor.ask, now_ms_);
  }
  for (RunningClaim& victim : leaving) {
    victim.preemptible = false;  // for nobody else
    running_.add(victim);
    const Claim& stopped = claims_[claims_.find(victim.id)];
    say({victim.id, Verdict::Stop, Reason::PreemptionPending, stopped.reservation, 0, victim.spot});
  }
  say({.claim = claim.id, .verdict = Verdict::Waiting, .reason = Reason::PreemptionPending, .spot = {}});
  return true;
}

void Engine::victim_gone(ClaimId victim) {
  const Handovers::Result result = handovers_.victim_gone(cluster_, victim);
  if (result.step == Handovers::Step::Waiting) return;
  const ClaimSlot slot = claims_.find(result.key);
  if (result.step == Handovers::Step::Taken) {
    promised_.erase(claims_, slot);
    claims_[slot].promised = false;
    grant(slot, {result.promises.front().spot, 0});
  } else {
    end_promise(slot);
    enter(slot);
  }
  for (const NodeIndex node : result.freed) grown(node);
}

// The claim waits again like any other, in no list yet.
void Engine::end_promise(ClaimSlot slot) {
  Claim& claim = claims_[slot];
  promised_.erase(claims_, slot);
  claim.promised = false;
  claim.reason = Reason::None;
  if (claim.queue == kNoQueue) return;
  queues_.refund(claim.queue, ask_of(claim, claim.shape), now_ms_);
  queues_.add_pending(claim.queue, ask_of(claim, claim.shape));
  queues_changed();
}

// A preemption is given up: who still runs may be stopped for others, and what was held is free.
void Engine::spare(const Handovers::Cancelled& cancelled) {
  for (const ClaimId id : cancelled.spared) {
    RunningClaim claim = running_.at(running_.find(id));
    claim.preemptible = true;
    running_.add(claim);
  }
  for (const NodeIndex node : cancelled.freed) grown(node);
}

}  // namespace tweendeck::placement

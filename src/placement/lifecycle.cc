// What happens to claims that have a place: reserved, bound, taken back, ended.
#include <algorithm>
#include <bit>

#include "placement/engine.h"

namespace tweendeck::placement {

void Engine::reserve(ClaimSlot slot, const Choice& choice) {
  cluster_.take(choice.spot, claims_[slot].shape);
  reserve_taken(slot, choice);
}

void Engine::reserve_taken(ClaimSlot slot, const Choice& choice) {
  const Claim& claim = claims_[slot];
  drop_pending(claim);
  charge(claim);
  grant(slot, choice);
}

// What is booked and charged already becomes a reservation.
void Engine::grant(ClaimSlot slot, const Choice& choice) {
  Claim& claim = claims_[slot];
  if (claim.group != Groups::kNone) member_placed(claim);
  claim.state = ClaimState::Reserved;
  claim.reason = Reason::None;
  claim.spot = choice.spot;
  claim.reservation = ++reservations_;
  claim.tried_ms = claim.started_ms = now_ms_;
  claim.deadline_ms = now_ms_ + settings_.bind_timeout_ms;
  reserved_.push_back(claims_, slot);
  --pending_count_;
  note_running(claim);
  families_.took(claim.family, claim.spot.node);
  say({claim.id, Verdict::Placed, Reason::None, claim.reservation, choice.score, choice.spot});
}

// Gives back what the claim holds; it is in no list afterwards.
void Engine::free(ClaimSlot slot) {
  Claim& claim = claims_[slot];
  if (claim.state == ClaimState::Reserved) {
    reserved_.erase(claims_, slot);
  } else {
    --bound_count_;
  }
  running_.remove(claim.id);
  families_.gave(claim.family, claim.spot.node);
  if (claim.queue != kNoQueue || claim.space != kNoNamespace) {
    refund(claim);
    quota_changed();
  }
  if (handovers_.is_victim(claim.id)) {
    victim_gone(claim.id);
    if (claim.family != 0)
      grown(claim.spot.node);  // its room may be another's, but its family may come again
    return;
  }
  cluster_.give(claim.spot, claim.shape);
  grown(claim.spot.node);
}

// It holds nothing any more and waits again, in no list yet.
void Engine::give_up(ClaimSlot slot, Reason reason) {
  Claim& claim = claims_[slot];
  free(slot);
  if (claim.group != Groups::kNone) ++groups_[claim.group].waiting;
  say({claim.id, Verdict::Released, reason, claim.reservation, 0, claim.spot});
  claim.state = ClaimState::Pending;
  claim.spot = Spot{};
  claim.reason = reason;
  ++pending_count_;
  add_pending(claim);
}

// The rest after one more failure in a row.
int64_t Engine::back_off(uint16_t& failures) const {
  const int64_t rest =
      std::min(settings_.bind_backoff_max_ms, settings_.bind_backoff_ms << std::min<uint32_t>(failures, 20));
  if (failures < UINT16_MAX) ++failures;
  return rest;
}

// The reservation did not become a bind: the claim rests, so that what failed is not tried again at once.
void Engine::take_back(ClaimSlot slot, Reason reason) {
  Claim& claim = claims_[slot];
  give_up(slot, reason);
  if (claim.group != Groups::kNone) return member_lost(slot);
  claim.deadline_ms = now_ms_ + back_off(claim.failures);
  claim.resting = true;
  resting_.push_back(claims_, slot);
}

Status Engine::on(const ClaimWithdrawn& event) {
  at(event.time_ms);
  const ClaimSlot slot = claims_.find(event.claim);
  if (slot == kNoSlot || claims_[slot].state == ClaimState::Ended)
    return reject(event.claim, Reason::NotFound);
  Claim& claim = claims_[slot];
  const Spot spot = claim.spot;
  const bool held = claim.state != ClaimState::Pending;
  const bool was_stopped = handovers_.is_victim(claim.id);
  if (!held) {
    stop_waiting(slot);
    if (claim.group != Groups::kNone) --groups_[claim.group].waiting;
    drop_pending(claim);
    --pending_count_;
  } else {
    free(slot);
  }
  if (claim.group != Groups::kNone) leave_group(slot, held, was_stopped);
  running_.expect_no_more(claim.budget);
  policy_->departed(claim.shape);
  claim.state = ClaimState::Ended;
  ended_.push_back(claims_, slot);
  say({claim.id, Verdict::Ended, Reason::None, claim.reservation, 0, spot});
  if (ended_.size() > kRememberedClaims) {
    const ClaimSlot oldest = ended_.front();
    ended_.erase(claims_, oldest);
    claims_.erase(oldest);
  }
  return {};
}

Status Engine::on(const BindConfirmed& event) {
  at(event.time_ms);
  const ClaimSlot slot = claims_.find(event.claim);
  if (slot == kNoSlot || claims_[slot].state == ClaimState::Ended)
    return reject(event.claim, Reason::NotFound);
  Claim& claim = claims_[slot];
  if (claim.state == ClaimState::Bound && claim.reservation == event.reservation) {
    return reject(event.claim, Reason::AlreadyExists);
  }
  if (claim.state != ClaimState::Reserved || claim.reservation != event.reservation) {
    return reject(event.claim, Reason::ReservationStale);
  }
  reserved_.erase(claims_, slot);
  claim.state = ClaimState::Bound;
  claim.failures = 0;
  claim.started_ms = now_ms_;
  ++bound_count_;
  note_running(claim);
  say({claim.id, Verdict::Bound, Reason::None, claim.reservation, 0, claim.spot});
  return {};
}

Status Engine::on(const BindFailed& event) {
  at(event.time_ms);
  const ClaimSlot slot = claims_.find(event.claim);
  if (slot == kNoSlot || claims_[slot].state == ClaimState::Ended)
    return reject(event.claim, Reason::NotFound);
  if (claims_[slot].state != ClaimState::Reserved || claims_[slot].reservation != event.reservation) {
    return reject(event.claim, Reason::ReservationStale);
  }
  take_back(slot, Reason::BindFailed);
  return {};
}

Status Engine::on(const Timer& event) {
  at(event.now_ms);
  while (!reserved_.empty() && claims_[reserved_.front()].deadline_ms <= now_ms_) {
    take_back(reserved_.front(), Reason::BindTimeout);
  }
  for (const Handovers::Key key : handovers_.overdue(now_ms_)) give_up_promise(key);
  for (ClaimSlot slot = resting_.front(); slot != kNoSlot;) {
    Claim& claim = claims_[slot];
    const ClaimSlot next = claim.after;
    if (claim.deadline_ms <= now_ms_) {
      resting_.erase(claims_, slot);
      claim.resting = false;
      enter(slot);
    }
    slot = next;
  }
  search_again();
  return {};
}

// Reservations whose bind cannot come true any more. What is bound stays until it is withdrawn: it may still run.
void Engine::drop_unusable_reservations(NodeIndex node) {
  const auto usable = [&](const Claim& claim) {
    if (!cluster_.nodes()[node].present) return false;
    for (uint32_t rest = claim.spot.devices; rest != 0; rest &= rest - 1) {
      if (!cluster_.facts(node).devices[static_cast<size_t>(std::countr_zero(rest))].healthy) return false;
    }
    return true;
  };
  // First all, then one by one: a gang that breaks takes others off the list.
  std::vector<ClaimSlot> lost;
  for (ClaimSlot slot = reserved_.front(); slot != kNoSlot; slot = claims_[slot].after) {
    if (claims_[slot].spot.node == node && !usable(claims_[slot])) lost.push_back(slot);
  }
  for (const ClaimSlot slot : lost) {
    if (claims_[slot].state == ClaimState::Reserved) take_back(slot, Reason::NodeLost);
  }
}

}  // namespace tweendeck::placement

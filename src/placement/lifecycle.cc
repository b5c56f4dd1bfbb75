// What happens to claims: pending, reserved, bound, ended.
#include <algorithm>
#include <bit>

#include "placement/engine.h"

namespace tweendeck::placement {

std::string_view to_string(Verdict verdict) {
  switch (verdict) {
    case Verdict::Placed:
      return "placed";
    case Verdict::Infeasible:
      return "infeasible";
    case Verdict::BudgetExhausted:
      return "budget-exhausted";
    case Verdict::Waiting:
      return "waiting";
    case Verdict::Released:
      return "released";
    case Verdict::Ended:
      return "ended";
    case Verdict::Bound:
      return "bound";
    case Verdict::Resized:
      return "resized";
    case Verdict::Stop:
      return "stop";
    case Verdict::Rejected:
      return "rejected";
  }
  return "";
}

namespace {

// A number for a reason that new reasons do not change, unlike its place in the list: FNV-1a of its name.
constexpr uint32_t name_hash(std::string_view name) {
  uint32_t hash = 2166136261u;
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619u;
  return hash;
}

constexpr uint32_t kReasonHashes[] = {
#define TW_REASON(name, ...) name_hash(#name),
#include "base/reason.def"
#undef TW_REASON
};

}  // namespace

void Engine::say(const ClaimDecision& decision) {
  out_->push_back(decision);
  uint64_t starts = 0;
  for (const uint8_t start : decision.spot.partition_starts) starts = starts * 9 + start;
  for (const uint64_t value : {decision.claim,
                               uint64_t{static_cast<uint8_t>(decision.verdict)} << 32 |
                                   kReasonHashes[static_cast<size_t>(decision.reason)],
                               decision.reservation, static_cast<uint64_t>(decision.score),
                               uint64_t{decision.spot.node} << 16 | decision.spot.devices, starts}) {
    digest_ = (digest_ ^ value) * 0x9e3779b97f4a7c15ull;
    digest_ ^= digest_ >> 31;
  }
}

Status Engine::reject(ClaimId claim, Reason reason) {
  say({.claim = claim, .verdict = Verdict::Rejected, .reason = reason, .spot = {}});
  return {};
}

// Slices count as what they ask for; memory asked in percent and claims for any of several models count as devices
// and compute only, because what they will be on is not known before.
Amounts Engine::ask_of(const Claim& claim, ShapeId shape) const {
  const Request& request = cluster_.shape(shape).request;
  Amounts ask{};
  ask[kDevices] = request.devices;
  ask[kMemory] = static_cast<int64_t>(request.memory_bytes * request.devices);
  ask[kCompute] = int64_t{request.compute_permille} * request.devices;
  if (claim.model_resource > 0) ask[claim.model_resource] = request.devices;
  return ask;
}

Status Engine::on(const ClaimSubmitted& event) {
  at(event.time_ms);
  if (claims_.find(event.claim) != kNoSlot) return reject(event.claim, Reason::AlreadyExists);
  const std::optional<ShapeId> shape = this->shape(event.shape);
  const bool queue_known = event.queue == kNoNumber ||
                           (event.queue < queue_numbers_.size() && queue_numbers_[event.queue] != kNoQueue);
  if (!shape || !queue_known) return reject(event.claim, Reason::NotFound);
  if (claims_.size() - ended_.size() >= kMaxClaims) return reject(event.claim, Reason::LimitExceeded);
  if (Reason why = Reason::None; event.group != 0 && !joins_group(event, *shape, why)) {
    return reject(event.claim, why);
  }
  const Groups::Index group = event.group == 0 ? Groups::kNone : groups_.find(event.group);
  QueueId queue = event.queue == kNoNumber ? kNoQueue : queue_numbers_[event.queue];
  if (group != Groups::kNone) queue = groups_[group].queue;
  if (queue != kNoQueue && !queues_.is_leaf(queue)) return reject(event.claim, Reason::InvalidArgument);

  const ClaimSlot slot = claims_.add(event.claim);
  Claim& claim = claims_[slot];
  claim.shape = *shape;
  claim.queue = queue;
  claim.priority = event.priority;
  claim.order = ++submitted_;
  claim.submitted_ms = claim.tried_ms = now_ms_;
  claim.model_resource = model_resource(*shape);
  policy_->arrived(*shape);
  if (queue != kNoQueue) queues_.add_pending(queue, ask_of(claim, *shape));
  ++pending_count_;
  if (group == Groups::kNone) {
    enter(slot);
  } else {
    join_group(slot, group, event.role);
  }
  return {};
}

void Engine::enter(ClaimSlot slot) {
  const Claim& claim = claims_[slot];
  const ClassId id = waiting_.find(claim.shape, claim.queue, claim.priority);
  if (id == kNoClass || (waiting_[id].bar == PendingClass::Bar::Ready && waiting_[id].claims.empty())) {
    try_place(slot);
  } else {
    join(slot, id);
  }
}

uint8_t Engine::model_resource(ShapeId shape) const {
  const Request& request = cluster_.shape(shape).request;
  if (request.models.size() != 1) return 0;
  return static_cast<uint8_t>(std::max(0, queues_.find_model(request.models.front())));
}

// Behind others of its class, whose verdict is its own.
void Engine::join(ClaimSlot slot, ClassId id) {
  waiting_.push(claims_, id, slot);
  const PendingClass& c = waiting_[id];
  using Bar = PendingClass::Bar;
  const Verdict verdict = c.bar == Bar::NoRoom  ? Verdict::Infeasible
                          : c.bar == Bar::Quota ? Verdict::Waiting
                                                : Verdict::BudgetExhausted;
  say({.claim = claims_[slot].id,
       .verdict = verdict,
       .reason = c.bar == Bar::Ready ? Reason::SearchBudgetExhausted : c.reason,
       .spot = {}});
}

// A claim that is in no class yet.
void Engine::try_place(ClaimSlot slot) {
  const Claim& claim = claims_[slot];
  const Attempt attempt = look(claim);
  if (attempt.choice) return reserve(slot, *attempt.choice);
  if (attempt.bar == PendingClass::Bar::NoRoom && seek_victims(slot)) return;
  const ClassId id = waiting_.find_or_make(claim.shape, claim.queue, claim.priority);
  waiting_.set_bar(id, attempt.bar, attempt.reason, now_ms_);
  join(slot, id);
}

Engine::Attempt Engine::look(const Claim& claim) {
  if (claim.queue != kNoQueue) {
    const Admission admission = queues_.admit(claim.queue, ask_of(claim, claim.shape));
    if (!admission.admitted()) return {std::nullopt, PendingClass::Bar::Quota, admission.reason};
  }
  const std::optional<Choice> choice = policy_->choose(cluster_, claim.shape, {});
  if (!choice) return {std::nullopt, PendingClass::Bar::NoRoom, no_room_reason(claim.shape)};
  return {choice, PendingClass::Bar::Ready, Reason::None};
}

// Whether time can help, or only another machine.
Reason Engine::no_room_reason(ShapeId shape) const {
  const Request& request = cluster_.shape(shape).request;
  for (size_t type = 0; type < cluster_.types().size(); ++type) {
    const NodeType& t = cluster_.types()[type];
    const int devices = std::popcount(cluster_.allowed_devices(static_cast<uint16_t>(type), shape));
    if (t.nodes > 0 && devices >= static_cast<int>(request.devices) &&
        t.facts.cpu_milli >= request.cpu_milli && t.facts.memory_bytes >= request.node_memory_bytes) {
      return Reason::NoRoom;
    }
  }
  return Reason::NoSuchNode;
}

void Engine::reserve(ClaimSlot slot, const Choice& choice) {
  cluster_.take(choice.spot, claims_[slot].shape);
  reserve_taken(slot, choice);
}

void Engine::reserve_taken(ClaimSlot slot, const Choice& choice) {
  Claim& claim = claims_[slot];
  if (claim.group != Groups::kNone) --groups_[claim.group].waiting;
  if (claim.queue != kNoQueue) {
    queues_.drop_pending(claim.queue, ask_of(claim, claim.shape));
    queues_.charge(claim.queue, ask_of(claim, claim.shape), now_ms_);
  }
  grant(slot, choice);
}

// What is booked and charged already becomes a reservation.
void Engine::grant(ClaimSlot slot, const Choice& choice) {
  Claim& claim = claims_[slot];
  claim.state = ClaimState::Reserved;
  claim.reason = Reason::None;
  claim.spot = choice.spot;
  claim.reservation = ++reservations_;
  claim.tried_ms = now_ms_;
  claim.deadline_ms = now_ms_ + settings_.bind_timeout_ms;
  reserved_.push_back(claims_, slot);
  --pending_count_;
  if (settings_.preempt) {
    RunningClaim runs;
    runs.id = claim.id;
    runs.spot = choice.spot;
    runs.shape = claim.shape;
    runs.queue = claim.queue == kNoQueue ? kRootQueue : claim.queue;
    runs.priority = claim.priority;
    runs.preemptible = claim.group == Groups::kNone;  // gangs are stopped by nobody yet
    runs.started_ms = now_ms_;
    runs.charged = ask_of(claim, claim.shape);
    running_.add(runs);
  }
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
  if (settings_.preempt) running_.remove(claim.id);
  if (claim.queue != kNoQueue) {
    queues_.refund(claim.queue, ask_of(claim, claim.shape), now_ms_);
    queues_changed();
  }
  if (handovers_.is_victim(claim.id)) return victim_gone(claim.id);
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
  if (claim.queue != kNoQueue) queues_.add_pending(claim.queue, ask_of(claim, claim.shape));
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
  if (!held) {
    if (claim.group != Groups::kNone) {
      --groups_[claim.group].waiting;
    } else if (claim.promised) {
      end_promise(slot);
      spare(*handovers_.cancel(cluster_, claim.id));
    } else if (claim.resting) {
      resting_.erase(claims_, slot);
    } else {
      waiting_.erase(claims_, slot);
    }
    if (claim.queue != kNoQueue) queues_.drop_pending(claim.queue, ask_of(claim, claim.shape));
    --pending_count_;
  } else {
    free(slot);
  }
  if (claim.group != Groups::kNone) leave_group(slot, held);
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
  ++bound_count_;
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

Status Engine::on(const Resize& event) {
  at(event.time_ms);
  const ClaimSlot slot = claims_.find(event.claim);
  const std::optional<ShapeId> shape = this->shape(event.shape);
  if (slot == kNoSlot || claims_[slot].state == ClaimState::Ended || !shape) {
    return reject(event.claim, Reason::NotFound);
  }
  Claim& claim = claims_[slot];
  if (claim.state == ClaimState::Pending || claim.group != Groups::kNone) {
    return reject(event.claim, Reason::Unsupported);
  }
  if (handovers_.is_victim(claim.id)) return reject(event.claim, Reason::PreemptionPending);
  const Amounts old_ask = ask_of(claim, claim.shape);
  const uint8_t old_model = claim.model_resource;
  if (claim.queue != kNoQueue) {
    queues_.refund(claim.queue, old_ask, now_ms_);
    claim.model_resource = model_resource(*shape);
    const Admission admission = queues_.admit(claim.queue, ask_of(claim, *shape));
    if (!admission.admitted()) {
      claim.model_resource = old_model;
      queues_.charge(claim.queue, old_ask, now_ms_);
      return reject(event.claim, admission.reason);
    }
  }
  const Cluster::Mark mark = cluster_.mark();
  cluster_.give(claim.spot, claim.shape);
  const uint16_t fitting = cluster_.fitting_devices(claim.spot.node, *shape);
  Spot spot = claim.spot;
  bool fits = std::popcount(spot.devices) == static_cast<int>(cluster_.shape(*shape).request.devices) &&
              (spot.devices & ~fitting) == 0;
  if (fits) {
    spot = cluster_.spot(spot.node, spot.devices, *shape);
    fits = cluster_.fits(spot, *shape);
  }
  if (!fits) {
    cluster_.undo_to(mark);
    if (claim.queue != kNoQueue) {
      claim.model_resource = old_model;
      queues_.charge(claim.queue, old_ask, now_ms_);
    }
    return reject(event.claim, Reason::NoRoom);
  }
  cluster_.take(spot, *shape);
  cluster_.commit(mark);
  if (claim.queue != kNoQueue) {
    queues_.charge(claim.queue, ask_of(claim, *shape), now_ms_);
    queues_changed();
  }
  policy_->departed(claim.shape);
  policy_->arrived(*shape);
  claim.shape = *shape;
  claim.spot = spot;
  if (settings_.preempt) {
    RunningClaim runs = running_.at(running_.find(claim.id));
    runs.shape = *shape;
    runs.spot = spot;
    runs.charged = ask_of(claim, *shape);
    running_.add(runs);
  }
  grown(spot.node);
  say({claim.id, Verdict::Resized, Reason::None, claim.reservation, 0, spot});
  return {};
}

Status Engine::on(const Timer& event) {
  at(event.now_ms);
  while (!reserved_.empty() && claims_[reserved_.front()].deadline_ms <= now_ms_) {
    take_back(reserved_.front(), Reason::BindTimeout);
  }
  for (const Handovers::Key key : handovers_.overdue(now_ms_)) {
    const ClaimSlot slot = claims_.find(key);
    spare(*handovers_.cancel(cluster_, key));
    end_promise(slot);
    enter(slot);
  }
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

// Whether a claim of class `a` is served before one of class `b`.
bool Engine::first(const PendingClass& a, const PendingClass& b) {
  if (a.priority != b.priority) return a.priority > b.priority;
  if (a.queue != b.queue && a.queue != kNoQueue && b.queue != kNoQueue) {
    if (queues_.before(a.queue, b.queue)) return true;
    if (queues_.before(b.queue, a.queue)) return false;
  }
  return claims_[a.claims.front()].order < claims_[b.claims.front()].order;
}

void Engine::retry() {
  int32_t urgent = INT32_MIN;
  for (const ClassId id : waiting_.ready()) urgent = std::max(urgent, waiting_[id].priority);
  if (groups_ready_) retry_groups(urgent);
  for (uint32_t tries = 0; tries < settings_.tries_per_event; ++tries) {
    const std::vector<ClassId>& ready = waiting_.ready();
    if (ready.empty()) break;
    ClassId best = ready.front();
    for (const ClassId id : ready) {
      if (id != best && first(waiting_[id], waiting_[best])) best = id;
    }
    const ClaimSlot slot = waiting_[best].claims.front();
    const Attempt attempt = look(claims_[slot]);
    if (attempt.choice) {
      waiting_.erase(claims_, slot);
      reserve(slot, *attempt.choice);
    } else if (attempt.bar != PendingClass::Bar::NoRoom || !seek_victims(slot)) {
      waiting_.set_bar(best, attempt.bar, attempt.reason, now_ms_);
    }
  }
  if (groups_ready_ && urgent != INT32_MIN) retry_groups(INT32_MIN);
}

}  // namespace tweendeck::placement

// Claims that come and wait: whom quota and room let on, whose turn it is.
#include <algorithm>
#include <bit>

#include "placement/engine.h"

namespace tweendeck::placement {

Status Engine::on(const ClaimSubmitted& event) {
  at(event.time_ms);
  ClaimSlot slot = kNoSlot;
  if (const Reason why = add_claim(event, slot); why != Reason::None) return reject(event.claim, why);
  if (event.group == 0) {
    enter(slot);
  } else {
    try_member(slot);
  }
  return {};
}

// A claim that waits, in no list yet. None, or why not.
Reason Engine::add_claim(const ClaimSubmitted& event, ClaimSlot& slot) {
  if (claims_.find(event.claim) != kNoSlot) return Reason::AlreadyExists;
  const std::optional<ShapeId> shape = this->shape(event.shape);
  const std::optional<NamespaceId> space = this->space(event.space);
  const bool queue_known = event.queue == kNoNumber ||
                           (event.queue < queue_numbers_.size() && queue_numbers_[event.queue] != kNoQueue);
  if (!shape || !queue_known || !space) return Reason::NotFound;
  if (claims_.size() - ended_.size() >= kMaxClaims) return Reason::LimitExceeded;
  if (Reason why = Reason::None; event.group != 0 && !joins_group(event, *shape, why)) return why;
  const Groups::Index group = event.group == 0 ? Groups::kNone : groups_.find(event.group);
  QueueId queue = event.queue == kNoNumber ? kNoQueue : queue_numbers_[event.queue];
  if (group != Groups::kNone) queue = groups_[group].queue;
  const bool possible = (queue == kNoQueue || queues_.is_leaf(queue)) && event.min_runtime_ms >= 0 &&
                        event.min_runtime_ms <= kMaxMinRuntimeMs &&
                        (event.weights == kNoNumber || event.weights < kMaxNumber) &&
                        (event.apart == Apart::No || (event.family != 0 && event.group == 0));
  if (!possible) return Reason::InvalidArgument;

  slot = claims_.add(event.claim);
  Claim& claim = claims_[slot];
  claim.shape = *shape;
  claim.queue = queue;
  claim.space = group == Groups::kNone ? *space : groups_[group].space;
  claim.priority = event.priority;
  claim.weights = event.weights;
  claim.budget = event.budget;
  claim.min_runtime_ms = event.min_runtime_ms;
  claim.preemptible = event.preemptible;
  claim.family = event.family;
  claim.apart = event.apart;
  claim.order = ++submitted_;
  claim.submitted_ms = claim.tried_ms = now_ms_;
  claim.model_resource = model_resource(*shape);
  policy_->arrived(*shape);
  running_.expect(claim.budget);
  add_pending(claim);
  ++pending_count_;
  if (group != Groups::kNone) join_group(slot, group, event.role);
  return Reason::None;
}

void Engine::enter(ClaimSlot slot) {
  const ClassId id = waiting_.find(key_of(claims_[slot]));
  if (id == kNoClass || (waiting_[id].bar == PendingClass::Bar::Ready && waiting_[id].claims.empty())) {
    try_place(slot);
  } else {
    join(slot, id);
  }
}

// Out of the list in which it waits, and of the promise that was made to it.
void Engine::stop_waiting(ClaimSlot slot) {
  Claim& claim = claims_[slot];
  if (claim.promised) give_up_promise(promise_of(claim));  // it waits like any other then
  if (claim.group != Groups::kNone) return;
  if (claim.resting) {
    resting_.erase(claims_, slot);
    claim.resting = false;
  } else {
    waiting_.erase(claims_, slot);
  }
}

// Without a word, and to be tried at the end of the event: what it waited for came to nothing.
void Engine::wait_again(ClaimSlot slot) {
  const ClassId id = waiting_.find_or_make(key_of(claims_[slot]));
  waiting_.push(claims_, id, slot);
  waiting_.set_bar(id, PendingClass::Bar::Ready, Reason::None, now_ms_);
  waiting_[id].search_due = true;
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
  const Search search = attempt.bar == PendingClass::Bar::NoRoom ? seek_victims(slot) : Search::Later;
  if (search == Search::Found) return;
  const ClassId id = waiting_.find_or_make(key_of(claim));
  waiting_.set_bar(id, attempt.bar, attempt.reason, now_ms_);
  waiting_[id].search_due = search == Search::Later;
  join(slot, id);
}

Engine::Attempt Engine::look(const Claim& claim, NodeIndex only) {
  const Admission admission = admit(claim.queue, claim.space, ask_of(claim, claim.shape));
  if (!admission.admitted()) return {std::nullopt, PendingClass::Bar::Quota, admission.reason};
  if (only != kAnyNode && !cluster_.fits(only, claim.shape)) {
    return {std::nullopt, PendingClass::Bar::NoRoom, no_room_reason(claim)};
  }
  Narrowing narrowing{nullptr, residency_.of(claim.weights, cluster_.nodes().size())};
  std::vector<bool> open;
  if (claim.apart != Apart::No) {
    open = families_.open(cluster_, claim.shape, claim.family, claim.apart);
    narrowing.nodes = &open;
  }
  const std::optional<Choice> choice = policy_->choose(cluster_, claim.shape, narrowing);
  if (!choice) return {std::nullopt, PendingClass::Bar::NoRoom, no_room_reason(claim)};
  return {choice, PendingClass::Bar::Ready, Reason::None};
}

// Whether time can help, or only another machine.
Reason Engine::no_room_reason(const Claim& claim) const {
  const ShapeId shape = claim.shape;
  for (NodeIndex node = 0; claim.apart == Apart::Required && node < cluster_.nodes().size(); ++node) {
    if (cluster_.fits(node, shape)) return Reason::DeviceAlreadyUsed;
  }
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

// Whether a claim of class `a` is served before one of class `b`.
bool Engine::first(const PendingClass& a, const PendingClass& b) {
  if (a.key.priority != b.key.priority) return a.key.priority > b.key.priority;
  const QueueId of_a = a.key.queue, of_b = b.key.queue;
  if (of_a != of_b && of_a != kNoQueue && of_b != kNoQueue) {
    if (queues_.before(of_a, of_b)) return true;
    if (queues_.before(of_b, of_a)) return false;
  }
  return a.oldest < b.oldest;
}

void Engine::retry() {
  int32_t urgent = INT32_MIN;
  for (const ClassId id : waiting_.ready()) urgent = std::max(urgent, waiting_[id].key.priority);
  if (groups_ready_) retry_groups(urgent);
  for (uint32_t tries = 0; tries < settings_.tries_per_event; ++tries) {
    const std::vector<ClassId>& ready = waiting_.ready();
    if (ready.empty()) break;
    ClassId best = ready.front();
    for (const ClassId id : ready) {
      if (id != best && first(waiting_[id], waiting_[best])) best = id;
    }
    const ClaimSlot slot = waiting_[best].claims.front();
    const Attempt attempt = look(claims_[slot], waiting_[best].only);
    if (attempt.choice) {
      waiting_.erase(claims_, slot);
      reserve(slot, *attempt.choice);
      continue;
    }
    if (attempt.bar == PendingClass::Bar::NoRoom) {
      const Search search = seek_victims(slot);
      if (search == Search::Found) continue;
      waiting_[best].search_due = search == Search::Later;
    }
    waiting_.set_bar(best, attempt.bar, attempt.reason, now_ms_);
  }
  if (groups_ready_ && urgent != INT32_MIN) retry_groups(INT32_MIN);
}

}  // namespace tweendeck::placement

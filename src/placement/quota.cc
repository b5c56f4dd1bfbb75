// What claims are charged for, in their queue and in their namespace: both must allow a claim.
#include "placement/engine.h"

namespace tweendeck::placement {

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

uint8_t Engine::model_resource(ShapeId shape) const {
  const Request& request = cluster_.shape(shape).request;
  if (request.models.size() != 1) return 0;
  return static_cast<uint8_t>(std::max(0, queues_.find_model(request.models.front())));
}

Admission Engine::admit(QueueId queue, NamespaceId space, const Amounts& ask) const {
  Admission admission = spaces_.admit(space, ask);
  if (queue == kNoQueue || admission.tier == QuotaTier::Never) return admission;
  const Admission of_queue = queues_.admit(queue, ask);
  // What bars longer is the answer; of two that do, the namespace's.
  return of_queue.tier > admission.tier ? of_queue : admission;
}

void Engine::charge(const Claim& claim) {
  const Amounts ask = ask_of(claim, claim.shape);
  spaces_.charge(claim.space, ask);
  if (claim.queue != kNoQueue) queues_.charge(claim.queue, ask, now_ms_);
}

void Engine::refund(const Claim& claim) {
  const Amounts ask = ask_of(claim, claim.shape);
  spaces_.refund(claim.space, ask);
  if (claim.queue != kNoQueue) queues_.refund(claim.queue, ask, now_ms_);
}

void Engine::add_pending(const Claim& claim) {
  if (claim.queue != kNoQueue) queues_.add_pending(claim.queue, ask_of(claim, claim.shape));
}

void Engine::drop_pending(const Claim& claim) {
  if (claim.queue != kNoQueue) queues_.drop_pending(claim.queue, ask_of(claim, claim.shape));
}

// A queue named a model for the first time: who asks for it counts from now on, also who came before.
void Engine::recount_models() {
  for (ClaimSlot slot = 0; slot < claims_.slots(); ++slot) {
    Claim& claim = claims_[slot];
    if (claim.state == ClaimState::Free || claim.state == ClaimState::Ended) continue;
    const uint8_t resource = model_resource(claim.shape);
    if (claim.model_resource == resource) continue;
    const bool pending = claim.state == ClaimState::Pending && !claim.promised;
    pending ? drop_pending(claim) : refund(claim);
    claim.model_resource = resource;
    pending ? add_pending(claim) : charge(claim);
    if (running_.remove(claim.id)) note_running(claim);
  }
}

void Engine::quota_changed() {
  waiting_.quota_changed();
  for (Groups::Index index = 0; index < groups_.slots(); ++index) {
    if (!groups_[index].quota) continue;
    groups_[index].quota = false;
    groups_[index].ready = groups_ready_ = true;
  }
}

Status Engine::on(const NamespacePut& event) {
  if (event.space >= kMaxNumber) {
    return fail(Reason::LimitExceeded, "namespace number " + std::to_string(event.space) + " is too large",
                "number namespaces from 0 to " + std::to_string(kMaxNumber - 1));
  }
  if (event.space < space_numbers_.size() && space_numbers_[event.space] != kNoNamespace &&
      spaces_.name(space_numbers_[event.space]) != event.name) {
    return fail(Reason::AlreadyExists,
                "namespace " + std::to_string(event.space) + " has another name already",
                "give the new namespace a new number");
  }
  const Result<NamespaceId> space = spaces_.put(event.name, event.hard);
  if (!space) return fail(space.error());
  if (event.space >= space_numbers_.size()) space_numbers_.resize(event.space + 1, kNoNamespace);
  space_numbers_[event.space] = *space;
  quota_changed();
  return {};
}

std::optional<NamespaceId> Engine::space(uint32_t number) const {
  if (number == kNoNumber) return kNoNamespace;
  if (number >= space_numbers_.size() || space_numbers_[number] == kNoNamespace) return std::nullopt;
  return space_numbers_[number];
}

}  // namespace tweendeck::placement

// A claim gets another size on the devices that it has.
#include <bit>

#include "placement/engine.h"

namespace tweendeck::placement {

namespace {

// Of what hardware cuts nothing is compared: another partition is another place.
bool asks_no_more(const Request& wanted, const Request& held) {
  const bool memory = wanted.memory_bytes > 0 && held.memory_bytes > 0
                          ? wanted.memory_bytes <= held.memory_bytes
                          : wanted.memory_bytes == 0 && wanted.memory_percent <= held.memory_percent;
  return memory && wanted.cpu_milli <= held.cpu_milli && wanted.node_memory_bytes <= held.node_memory_bytes &&
         wanted.devices == held.devices && wanted.compute_permille <= held.compute_permille &&
         wanted.exclusive == held.exclusive && wanted.partition == held.partition;
}

}  // namespace

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
  // As if it were new, beside what the others have.
  const uint8_t old_model = claim.model_resource;
  refund(claim);
  claim.model_resource = model_resource(*shape);
  const Admission admission = admit(claim.queue, claim.space, ask_of(claim, *shape));
  const auto refuse = [&](Reason reason) {
    claim.model_resource = old_model;
    charge(claim);
    return reject(event.claim, reason);
  };
  if (!admission.admitted()) return refuse(admission.reason);
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
  // To give some back is possible on devices that are closed, faulty or too small for what they hold, too.
  const bool shrinks = !fits &&
                       asks_no_more(cluster_.shape(*shape).request, cluster_.shape(claim.shape).request) &&
                       cluster_.held_problem(claim.spot, *shape) == Reason::None;
  if (!fits && !shrinks) {
    cluster_.undo_to(mark);
    return refuse(Reason::NoRoom);
  }
  if (fits) {
    cluster_.take(spot, *shape);
  } else {
    spot = claim.spot;
    cluster_.take_held(spot, *shape);
  }
  cluster_.commit(mark);
  policy_->departed(claim.shape);
  policy_->arrived(*shape);
  claim.shape = *shape;
  claim.spot = spot;
  charge(claim);
  if (claim.queue != kNoQueue || claim.space != kNoNamespace) quota_changed();
  note_running(claim);
  grown(spot.node);
  say({claim.id, Verdict::Resized, Reason::None, claim.reservation, 0, spot});
  return {};
}

}  // namespace tweendeck::placement

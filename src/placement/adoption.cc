// Claims that are known to run: how the engine catches up with a cluster that was there before it.
#include "placement/engine.h"

namespace tweendeck::placement {

// Nothing when the node or a device is unknown.
std::optional<Spot> Engine::spot_of(const ClaimAdopted& event) const {
  Spot spot;
  spot.node = cluster_.find_node(event.node);
  if (spot.node == kNoNode) return std::nullopt;
  for (const ClaimAdopted::Device& device : event.devices) {
    const auto found = cluster_.find_device(device.id);
    if (!found || found->first != spot.node) return std::nullopt;
    spot.devices = static_cast<uint16_t>(spot.devices | 1u << found->second);
    spot.partition_starts[found->second] = device.start;
  }
  return spot;
}

// None when the claim can be there, once it gave back what it is reserved.
Reason Engine::adoptable(const ClaimAdopted& event, const Spot& spot) {
  const std::optional<ShapeId> shape = this->shape(event.claim.shape);
  if (!shape) return Reason::NotFound;
  const ClaimSlot slot = claims_.find(event.claim.claim);
  if (slot == kNoSlot) return cluster_.held_problem(spot, *shape);
  const Claim& claim = claims_[slot];
  if (claim.state == ClaimState::Bound || claim.state == ClaimState::Ended) return Reason::AlreadyExists;
  if (claim.shape != *shape) return Reason::InvalidArgument;
  if (claim.state == ClaimState::Pending) return cluster_.held_problem(spot, *shape);
  // What it gives back is promised to somebody already.
  if (handovers_.is_victim(claim.id) && claim.spot != spot) return Reason::PreemptionPending;
  const Cluster::Mark mark = cluster_.mark();
  cluster_.give(claim.spot, claim.shape);
  const Reason problem = cluster_.held_problem(spot, *shape);
  cluster_.undo_to(mark);
  return problem;
}

// Of a member that runs: whatever its gang waited for, it has started.
void Engine::gang_runs(Groups::Index index) {
  Group& group = groups_[index];
  if (group.promised) give_up_promise(group.promise);
  if (group.stopping) {  // this one goes on, so it is not stopped as a whole
    group.stopping = false;
    check_gang(group);
  }
  if (group.started) return;
  for (size_t role = 0; role < group.unknown.size(); ++role) group.unknown[role] = group.needed(role);
  start_gang(group);
  group.ready = groups_ready_ = true;  // for those who waited
}

Status Engine::on(const ClaimAdopted& event) {
  const ClaimId id = event.claim.claim;
  at(event.claim.time_ms);
  const std::optional<Spot> spot = spot_of(event);
  if (!spot) return reject(id, Reason::NotFound);
  if (const Reason why = adoptable(event, *spot); why != Reason::None) return reject(id, why);
  ClaimSlot slot = claims_.find(id);
  if (slot != kNoSlot && claims_[slot].state == ClaimState::Reserved && claims_[slot].spot == *spot) {
    return on(BindConfirmed{id, claims_[slot].reservation, event.claim.time_ms});
  }
  if (slot == kNoSlot) {
    if (const Reason why = add_claim(event.claim, slot); why != Reason::None) return reject(id, why);
  } else if (claims_[slot].state == ClaimState::Reserved) {
    give_up(slot, Reason::ReservationStale);
  } else {
    stop_waiting(slot);
  }
  if (claims_[slot].group != Groups::kNone) gang_runs(claims_[slot].group);
  cluster_.take_held(*spot, claims_[slot].shape);
  reserve_taken(slot, {*spot, 0});
  return on(BindConfirmed{id, claims_[slot].reservation, event.claim.time_ms});
}

}  // namespace tweendeck::placement

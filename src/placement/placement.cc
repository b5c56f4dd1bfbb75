#include "placement/placement.h"

#include <algorithm>
#include <map>
#include <tuple>

#include "placement/nearest.h"
#include "placement/room.h"

namespace tweendeck::placement {
namespace {

// How full the device would be with one more slice, in 1/1024 of its scarcer resource.
uint64_t fill(const Room& room, const Claim& claim) {
  const uint64_t memory =
      (room.used_memory + claim.share.memory_bytes) / (room.device->memory_bytes / 1024 + 1);
  const uint64_t compute = (room.used_compute + claim.share.compute_percent) * 1024 / 100;
  return std::max(memory, compute);
}

// The smallest rank is taken; the first device wins a tie.
std::tuple<uint64_t, uint64_t> rank(const Room& room, const Claim& claim) {
  if (claim.spread == Spread::Pack) return {0, UINT64_MAX - fill(room, claim)};
  return {room.own_slices, fill(room, claim)};
}

Room* best_room(std::vector<Room>& rooms, const Claim& claim) {
  Room* best = nullptr;
  for (Room& room : rooms) {
    if (slots(room, claim, 1) == 0) continue;
    if (best == nullptr || rank(room, claim) < rank(*best, claim)) best = &room;
  }
  return best;
}

Reason refusal_reason(const Room& room, const Claim& claim) {
  if (room.barrier != Reason::None) return room.barrier;
  if (claim.distinct_devices && room.own_slices > 0) return Reason::DeviceAlreadyUsed;
  if (room.free_memory() < claim.share.memory_bytes) return Reason::InsufficientMemory;
  return Reason::InsufficientCompute;
}

Refusal refuse(const Snapshot& snapshot, const std::vector<Room>& rooms, const Claim& claim,
               uint32_t fitting) {
  Refusal refusal;
  refusal.fitting = fitting;
  if (rooms.empty()) {
    refusal.reasons.push_back({Reason::NoDevices, 0, {}});
    return refusal;
  }
  std::vector<Room> filled = rooms;
  std::vector<Reason> reasons;
  std::map<Reason, ReasonCount> counts;
  for (Room& room : filled) {
    put(room, claim, slots(room, claim, claim.count));
    const Reason reason = refusal_reason(room, claim);
    reasons.push_back(reason);
    ReasonCount& count = counts.try_emplace(reason, ReasonCount{reason, 0, {}}).first->second;
    ++count.devices;
    count.device_ids.push_back(room.device->id);
  }
  for (auto& [reason, count] : counts) refusal.reasons.push_back(std::move(count));
  std::ranges::sort(refusal.reasons, [](const ReasonCount& a, const ReasonCount& b) {
    return std::tie(b.devices, a.reason) < std::tie(a.devices, b.reason);
  });
  refusal.nearest = nearest_miss(snapshot, claim, rooms, filled, reasons);
  return refusal;
}

}  // namespace

Decision place(const Snapshot& snapshot, const Claim& claim) {
  Decision decision;
  if (claim.count > kMaxClaimSlices) {
    decision.refusal = Refusal{.fitting = 0, .reasons = {{Reason::LimitExceeded, 0, {}}}, .nearest = {}};
    return decision;
  }
  std::vector<Room> rooms = rooms_for(snapshot, claim);
  const uint32_t fitting = total_slots(rooms, claim, claim.count);
  if (fitting < claim.count) {
    decision.refusal = refuse(snapshot, rooms, claim, fitting);
    return decision;
  }
  for (uint32_t i = 0; i < claim.count; ++i) {
    Room& room = *best_room(rooms, claim);
    put(room, claim);
    decision.device_ids.push_back(room.device->id);
  }
  return decision;
}

}  // namespace tweendeck::placement

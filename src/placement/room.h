// The room that a device has for the slices of one claim. Integers only.
#pragma once

#include <algorithm>
#include <cstdint>
#include <vector>

#include "placement/placement.h"

namespace tweendeck::placement {

struct Room {
  const Device* device = nullptr;
  uint64_t used_memory = 0;  // may pass the device's when it shrank
  uint64_t used_compute = 0;
  uint32_t own_slices = 0;        // of the claim's deployment, those of the claim included once placed
  Reason barrier = Reason::None;  // why the device is out whatever is free on it

  uint64_t free_memory() const { return device->memory_bytes - std::min(device->memory_bytes, used_memory); }
  uint32_t free_compute() const { return 100 - static_cast<uint32_t>(std::min<uint64_t>(100, used_compute)); }
};

// One room per device of the snapshot, in its order.
std::vector<Room> rooms_for(const Snapshot& snapshot, const Claim& claim);

// Slices of the claim that fit into the room as it is, at most `limit`.
inline uint32_t slots(const Room& room, const Claim& claim, uint32_t limit) {
  if (room.barrier != Reason::None) return 0;
  if (claim.distinct_devices) limit = room.own_slices > 0 ? 0 : std::min(limit, 1u);
  uint64_t count = limit;
  if (claim.share.memory_bytes > 0) count = std::min(count, room.free_memory() / claim.share.memory_bytes);
  if (claim.share.compute_percent > 0) {
    count = std::min<uint64_t>(count, room.free_compute() / claim.share.compute_percent);
  }
  return static_cast<uint32_t>(count);
}

// Over all rooms, at most `limit`.
inline uint32_t total_slots(const std::vector<Room>& rooms, const Claim& claim, uint32_t limit) {
  uint32_t total = 0;
  for (const Room& room : rooms) total += slots(room, claim, limit - total);
  return total;
}

inline void put(Room& room, const Claim& claim, uint32_t count = 1) {
  room.used_memory += claim.share.memory_bytes * count;
  room.used_compute += uint64_t{claim.share.compute_percent} * count;
  room.own_slices += count;
}

}  // namespace tweendeck::placement

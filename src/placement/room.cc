#include "placement/room.h"

#include <string_view>
#include <unordered_map>

namespace tweendeck::placement {
namespace {

char lower(char c) {
  return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool same_letter(char a, char b) {
  return lower(a) == lower(b);
}

bool selected(const Device& device, const Claim& claim) {
  return claim.device_ids.empty() || std::ranges::any_of(claim.device_ids, [&](const std::string& name) {
           return name == device.id || name == device.provider;
         });
}

// What no freeing of room can change, most general first.
Reason barrier(const Device& device, const Claim& claim) {
  if (!selected(device, claim)) return Reason::DeviceNotSelected;
  if (!claim.vendor.empty() && !std::ranges::equal(claim.vendor, device.vendor, same_letter)) {
    return Reason::VendorMismatch;
  }
  if (std::ranges::search(device.model, claim.model, same_letter).empty() && !claim.model.empty()) {
    return Reason::ModelMismatch;
  }
  if (!device.healthy) return Reason::DeviceUnhealthy;
  if (device.isolation < claim.min_isolation) return Reason::IsolationTooWeak;
  if (claim.share.memory_bytes > device.memory_bytes) return Reason::MemoryExceedsDevice;
  if (claim.share.compute_percent > 100) return Reason::ComputeExceedsDevice;
  return Reason::None;
}

}  // namespace

std::vector<Room> rooms_for(const Snapshot& snapshot, const Claim& claim) {
  std::vector<Room> rooms;
  std::unordered_map<std::string_view, size_t> by_id;
  for (const Device& device : snapshot.devices) {
    by_id.emplace(device.id, rooms.size());
    Room room;
    room.device = &device;
    room.barrier = barrier(device, claim);
    rooms.push_back(room);
  }
  for (const Slice& slice : snapshot.slices) {
    const auto found = by_id.find(slice.device_id);
    if (found == by_id.end()) continue;  // its device is gone
    Room& room = rooms[found->second];
    room.used_memory += slice.share.memory_bytes;
    room.used_compute += slice.share.compute_percent;
    if (!claim.name.empty() && slice.deployment == claim.name) ++room.own_slices;
  }
  return rooms;
}

}  // namespace tweendeck::placement

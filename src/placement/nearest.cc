#include "placement/nearest.h"

#include <tuple>

#include "placement/stop_search.h"

namespace tweendeck::placement {
namespace {

// How far a device is from taking the claim: what goes away by itself or by stopping something is nearer than
// what needs another device.
int distance(Reason reason) {
  switch (reason) {
    case Reason::InsufficientMemory:
    case Reason::InsufficientCompute:
      return 0;
    case Reason::DeviceAlreadyUsed:
      return 1;
    case Reason::MemoryExceedsDevice:
    case Reason::ComputeExceedsDevice:
      return 2;
    case Reason::IsolationTooWeak:
      return 3;
    case Reason::DeviceUnhealthy:
      return 4;
    case Reason::ModelMismatch:
      return 5;
    case Reason::VendorMismatch:
      return 6;
    default:
      return 7;
  }
}

bool about_room(Reason reason) {
  return reason != Reason::DeviceAlreadyUsed && distance(reason) <= distance(Reason::ComputeExceedsDevice);
}

struct Lack {
  uint64_t memory = 0;
  uint32_t compute = 0;
};

Lack lack(const Room& filled, Reason reason, const Claim& claim) {
  if (!about_room(reason)) return {};
  const bool exceeds = filled.barrier != Reason::None;
  const uint64_t memory = exceeds ? filled.device->memory_bytes : filled.free_memory();
  const uint32_t compute = exceeds ? 100 : filled.free_compute();
  return {claim.share.memory_bytes - std::min(memory, claim.share.memory_bytes),
          claim.share.compute_percent - std::min(compute, claim.share.compute_percent)};
}

// Among devices refused for the same reason: levels of isolation, or 1/1024 of the device of what is missing
// most.
uint64_t shortfall(const Lack& lacks, const Room& room, Reason reason, const Claim& claim) {
  if (reason == Reason::IsolationTooWeak) {
    return static_cast<uint64_t>(claim.min_isolation) - static_cast<uint64_t>(room.device->isolation);
  }
  return std::max(lacks.memory / (room.device->memory_bytes / 1024 + 1),
                  uint64_t{lacks.compute} * 1024 / 100);
}

std::optional<Share> largest_fit(const Room& room, const Claim& claim) {
  if (room.free_memory() == 0 || room.free_compute() == 0) return std::nullopt;
  return Share{room.free_memory(), room.free_compute(), claim.share.priority};
}

std::string detail(const Device& device, Reason reason) {
  switch (reason) {
    case Reason::IsolationTooWeak: {
      std::string text = "isolates by '" + std::string(to_string(device.isolation)) + "'";
      if (device.isolation_reason != Reason::None)
        text += ", " + std::string(to_string(device.isolation_reason));
      return text;
    }
    case Reason::DeviceUnhealthy:
      return "reports " + std::string(to_string(device.health_reason));
    case Reason::ModelMismatch:
      return "is a '" + device.model + "'";
    case Reason::VendorMismatch:
      return "is from '" + device.vendor + "'";
    case Reason::DeviceAlreadyUsed:
      return "has a slice of it already";
    default:
      return {};
  }
}

}  // namespace

NearestMiss nearest_miss(const Snapshot& snapshot, const Claim& claim, const std::vector<Room>& rooms,
                         const std::vector<Room>& filled, const std::vector<Reason>& reasons) {
  const StopSet stop = find_stop_set(snapshot, claim, rooms);
  auto rank = [&](size_t i) {
    const bool gains = !stop.owners.empty() &&
                       slots(stop.rooms[i], claim, claim.count) > slots(rooms[i], claim, claim.count);
    return std::make_tuple(!gains, distance(reasons[i]),
                           shortfall(lack(filled[i], reasons[i], claim), rooms[i], reasons[i], claim));
  };
  size_t nearest = 0;
  for (size_t i = 1; i < rooms.size(); ++i) {
    if (rank(i) < rank(nearest)) nearest = i;
  }
  const Lack lacks = lack(filled[nearest], reasons[nearest], claim);
  NearestMiss miss;
  miss.device_id = rooms[nearest].device->id;
  miss.reason = reasons[nearest];
  miss.lacks_memory_bytes = lacks.memory;
  miss.lacks_compute_percent = lacks.compute;
  miss.stop_owners = stop.owners;
  miss.stop_is_fewest = stop.fewest;
  if (about_room(miss.reason)) miss.largest_fit = largest_fit(rooms[nearest], claim);
  miss.detail = detail(*rooms[nearest].device, miss.reason);
  return miss;
}

}  // namespace tweendeck::placement

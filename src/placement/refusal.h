// Why a claim has no place on a machine, and what would change that.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "placement/machine_facts.h"
#include "placement/why/ends.h"

namespace tweendeck::placement {

// A claim for more slices is refused with LimitExceeded.
inline constexpr uint32_t kMaxClaimSlices = 4096;

struct ReasonCount {
  Reason reason;
  uint32_t devices;                     // devices refused for this reason first
  std::vector<std::string> device_ids;  // in the machine's order
  bool operator==(const ReasonCount&) const = default;
};

// The device that came nearest and the smallest change that would make the claim fit there.
struct NearestMiss {
  std::string device_id;
  Reason reason;
  uint64_t lacks_memory_bytes = 0;
  uint32_t lacks_compute_percent = 0;
  std::vector<std::string>
      stop_owners;                   // fewest replicas whose end would make the claim fit; empty = none would
  bool stop_is_fewest = true;        // false: the search reached its bound, fewer replicas might do
  std::optional<Share> largest_fit;  // what one slice could have on this device now; nothing when full
  std::string detail;                // what the device is instead, for reasons other than room; may be empty
  bool operator==(const NearestMiss&) const = default;
};

struct Refusal {
  uint32_t fitting = 0;  // slices of the claim that would have fitted
  std::vector<ReasonCount>
      reasons;  // most frequent first, ties by Reason order; after the fitting ones are placed
  std::optional<NearestMiss> nearest;
  bool operator==(const Refusal&) const = default;
};

// A slice and what is booked for it.
struct HeldSlice {
  const Slice* slice = nullptr;
  Holder::Held held;
};

// For a claim that the engine had no room for. `book` is a copy of its own, in which each device is the node of its
// name. Slices of the claim's own deployment are never among those to stop.
Refusal refuse(Cluster& book, const std::vector<Device>& devices, const std::vector<HeldSlice>& held,
               const MachineClaim& claim);

// "needs 2 GiB and 40 % on 1 device: 1 of 2 devices InsufficientMemory (cpu0 lacks 1.2 GiB; stopping chat-2
// would free it), 1 DeviceUnhealthy (cpu1)" — the one text that `why`, events and errors show.
std::string explain(const Refusal& refusal, const MachineClaim& claim);

}  // namespace tweendeck::placement

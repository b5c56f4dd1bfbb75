// Placement: which devices a claim gets, and if none, exactly why not and what would change that.
//
// Pure: the same snapshot and claim give the same decision on every machine and compiler (integers only).
// All slices of a claim are placed together or none is. The slices of one claim are equal, so a claim is
// placed whenever any assignment could place it. Safe from any thread.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/types.h"

namespace tweendeck::placement {

// A claim for more slices is refused with LimitExceeded.
inline constexpr uint32_t kMaxClaimSlices = 4096;

struct Snapshot {
  std::vector<Device> devices;  // ids are unique; where devices are equally good the first one is taken
  std::vector<Slice> slices;    // everything that is held, prepared or reserved
};

struct ReasonCount {
  Reason reason;
  uint32_t devices;                     // devices refused for this reason first
  std::vector<std::string> device_ids;  // in the snapshot's order
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

struct Decision {
  std::vector<std::string> device_ids;  // one per slice of the claim, in order; empty when refused
  std::optional<Refusal> refusal;
  bool placed() const { return !refusal.has_value(); }
  bool operator==(const Decision&) const = default;
};

// Slices of the claim's own deployment (Slice::deployment == Claim::name) are kept apart from: with
// `distinct_devices` a device that has one is refused, `Spread` prefers devices with few, and they are never
// among those to stop.
Decision place(const Snapshot& snapshot, const Claim& claim);

// "needs 2 GiB and 40 % on 1 device: 1 of 2 devices InsufficientMemory (cpu0 lacks 1.2 GiB; stopping chat-2
// would free it), 1 DeviceUnhealthy (cpu1)" — the one text that `why`, events and errors show.
std::string explain(const Refusal& refusal, const Claim& claim);

}  // namespace tweendeck::placement

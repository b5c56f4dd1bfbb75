// What a request means on a device, whatever is free on it. Pure.
#pragma once

#include <cstdint>

#include "base/result.h"
#include "placement/cluster/facts.h"

namespace tweendeck::placement {

inline constexpr uint8_t kNoProfile = 0xff;

// What one slice of a request takes from one device.
struct SliceSize {
  uint64_t memory_bytes = 0;
  uint16_t compute_permille = 0;
  uint8_t profile = kNoProfile;  // index of the device's partition profile
  bool possible = false;         // the empty device would hold it
  bool operator==(const SliceSize&) const = default;
};

SliceSize slice_size(const DeviceFacts& device, const Request& request);

// Model, vendor, isolation and conditions; not ids, sizes or what is free.
bool selected(const NodeFacts& node, const DeviceFacts& device, const Request& request);

// Errors: InvalidArgument naming the field.
Status check_request(const Request& request);
// Errors: InvalidArgument naming node, device and field; LimitExceeded.
Status check_facts(const NodeFacts& facts);

}  // namespace tweendeck::placement

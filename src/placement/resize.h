// Whether a held slice may stay where it is, or get another share there. Pure; safe from any thread.
#pragma once

#include "base/result.h"
#include "placement/placement.h"

namespace tweendeck::placement {

// What is asked beyond what the slice holds must be free on its device; less always fits. Errors: NotFound
// (the slice or its device), InsufficientMemory, InsufficientCompute, DeviceUnhealthy (only for more than it
// holds).
Status check_resize(const Snapshot& snapshot, const std::string& slice_id, const Share& wanted);

// Whether the device of a slice is there and still has what its slices hold: slices that were made before it went away or
// shrank are not made again on what is not there. Errors: DeviceGone.
Status check_holds(const Snapshot& snapshot, const Slice& slice);

}  // namespace tweendeck::placement

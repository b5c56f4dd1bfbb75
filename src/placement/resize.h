// Whether a held slice may get another share where it is. Pure; safe from any thread.
#pragma once

#include "base/result.h"
#include "placement/placement.h"

namespace tweendeck::placement {

// What is asked beyond what the slice holds must be free on its device; less always fits. Errors: NotFound
// (the slice or its device), InsufficientMemory, InsufficientCompute, DeviceUnhealthy (only for more than it
// holds).
Status check_resize(const Snapshot& snapshot, const std::string& slice_id, const Share& wanted);

}  // namespace tweendeck::placement

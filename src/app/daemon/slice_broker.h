// Connects serving's wish for a slice with placement and the device manager.
//
// One mutex from snapshot to prepare, so that two acquisitions never count the same free memory; what is
// being prepared or released still counts as held. Safe from any thread; a call may block as long as the
// device manager does.
#pragma once

#include <mutex>
#include <string>
#include <vector>

#include "device/manager/device_manager.h"
#include "placement/placement.h"
#include "serving/ports.h"

namespace tweendeck::daemon {

class SliceBroker {
 public:
  // `manager` must outlive the broker and have recovered.
  explicit SliceBroker(device::DeviceManager& manager) : manager_(manager) {}

  // Contract: serving::Ports::acquire_slice.
  Result<serving::SliceGrant> acquire(const serving::DeploymentSpec& spec, const std::string& owner,
                                      const std::string& slice_id);
  Status release(const std::string& slice_id);

  std::vector<Device> devices();
  std::vector<Slice> slices();
  Result<serving::SliceUse> usage(const std::string& slice_id);

 private:
  placement::Snapshot snapshot();

  device::DeviceManager& manager_;
  std::mutex mutex_;
};

}  // namespace tweendeck::daemon

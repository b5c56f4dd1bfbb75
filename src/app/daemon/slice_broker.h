// Connects serving's wish for a slice with placement and the device manager.
//
// Placement's engine decides (placement/machine.h); the slice journal is the truth it is told before every decision, so
// that after a restart, a failed prepare or a release that is not finished it knows what is held. One mutex from there
// to the prepared slice, so that two acquisitions never count the same free memory; what is being prepared or released
// still counts as held. Safe from any thread; a call may block as long as the device manager does.
#pragma once

#include <functional>
#include <mutex>
#include <string>
#include <vector>

#include "device/manager/device_manager.h"
#include "placement/machine.h"
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

  // A slice for a program that is not served (`tweendeck exec`): placed like a deployment's, without a
  // deployment. Errors: AlreadyExists for an id that is held; of placement and of the device manager.
  Result<serving::SliceGrant> acquire_own(const Claim& claim, const std::string& slice_id);

  // Changes every slice that `name` means (a slice, a replica, or all of a deployment) to what `change` makes
  // of it, while processes run. All are checked before the first is changed; when one fails, those before it
  // are put back. Answers the slices as they are now; events go into `events`. Errors: NotFound,
  // InvalidArgument (limits), of placement and of the device manager.
  using SliceChange = std::function<void(Slice&)>;
  Result<std::vector<Slice>> resize(const std::string& name, const SliceChange& change,
                                    std::vector<device::SliceEvent>& events);

  std::vector<Device> devices();
  std::vector<Slice> slices();
  Result<serving::SliceUse> usage(const std::string& slice_id);
  Result<device::SliceUsage> details(const std::string& slice_id);

 private:
  struct Machine {  // as it is
    std::vector<Device> devices;
    std::vector<Slice> slices;
  };
  Machine observe();
  Result<serving::SliceGrant> prepare_new(const Machine& now, const Claim& claim, Slice slice);
  Result<serving::SliceGrant> prepare(const Machine& now, Slice slice);

  device::DeviceManager& manager_;
  std::mutex mutex_;
  placement::Machine placement_;
};

}  // namespace tweendeck::daemon

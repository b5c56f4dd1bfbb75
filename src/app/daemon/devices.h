// The device side of the daemon: kernel, cgroups, journal, providers and the manager over them, in the order
// in which they need each other.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "app/daemon/install_paths.h"
#include "app/daemon/slice_broker.h"
#include "base/result.h"
#include "device/cgroup/groups.h"
#include "device/cgroup/search.h"
#include "device/journal/disk.h"
#include "device/manager/device_manager.h"
#include "device/slice_table.h"

namespace tweendeck::daemon {

class Devices {
 public:
  // `soft_gpus`: "2:H100-80G", "none", or "" for those that the state remembers. Recovers what an earlier
  // daemon left; what a person should know of that is in take_events(). Errors: of the journal
  // (JournalCorrupt, DiskFull ...), of the soft provider, DeviceGone (other software GPUs while slices on
  // them are held).
  static Result<std::unique_ptr<Devices>> open(const std::string& state_dir, const std::string& soft_gpus,
                                               const InstallPaths& paths, bool sandboxed);

  // Whether open() would succeed once the daemon that has the state and holds the slices `held` has left;
  // changes nothing that runs. Errors: of the journal (StateNewer, JournalCorrupt), of the soft provider,
  // DeviceGone.
  static Status check(const std::string& state_dir, const std::string& soft_gpus, const InstallPaths& paths,
                      const std::vector<device::SliceEntry>& held);

  device::DeviceManager& manager() { return *manager_; }
  SliceBroker& broker() { return *broker_; }
  std::vector<device::SliceEvent> take_events() { return std::move(events_); }

  // Groups of other state directories with slices in them: another daemon hands out the same machine.
  std::vector<std::string> other_groups() {
    return device::find_other_groups(kernel_, "/sys/fs/cgroup", own_group_);
  }

  // Degraded modes of this machine, for doctor; empty when there is none.
  const std::vector<Error>& degraded() const { return degraded_; }

 private:
  Devices() = default;

  device::Kernel kernel_;
  device::Disk disk_;
  std::string own_group_;
  std::unique_ptr<device::Groups> groups_;
  std::vector<std::unique_ptr<device::Provider>> providers_;
  std::unique_ptr<device::DeviceManager> manager_;
  std::unique_ptr<SliceBroker> broker_;
  std::vector<device::SliceEvent> events_;
  std::vector<Error> degraded_;
};

}  // namespace tweendeck::daemon

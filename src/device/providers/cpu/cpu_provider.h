// CpuProvider: each NUMA node of this machine is a device, and a slice of it is a cgroup.
//
// Device memory = the node's, less a reserve for the system (1/16, at least 256 MiB), and never more than the
// limits of the groups around the daemon. Compute = the CPUs of the node that the daemon may use, less what a
// CPU quota around it takes. A slice's isolation is `kernel` when its limits were read back, and `none` with
// CgroupUnavailable where no cgroup can be written. Thread rules as in provider.h.
#pragma once

#include <optional>
#include <string>

#include "device/cgroup/groups.h"
#include "device/provider.h"
#include "device/providers/cpu/topology.h"

namespace tweendeck::device {

inline constexpr uint64_t kCpuReserveDivisor = 16;
inline constexpr uint64_t kCpuReserveMinBytes = 256ull << 20;

class CpuProvider final : public Provider {
 public:
  // `groups` may be null: no cgroup can be written here. Both must outlive the provider. `root` precedes /sys
  // and /proc.
  CpuProvider(Kernel& kernel, Groups* groups, std::string root = "");

  std::string_view name() const override { return "cpu"; }
  Result<std::vector<Device>> discover() override;
  Result<Preparation> prepare(const Slice& slice) override;
  Status unprepare(std::string_view slice_id) override;
  Result<SliceUsage> usage(std::string_view slice_id) override;
  Result<std::vector<std::string>> prepared() override;

 private:
  uint64_t device_cpu_milli(const Topology& topology, const NumaNode& node) const;
  uint64_t device_memory_bytes(const Topology& topology, const NumaNode& node) const;

  Kernel& kernel_;
  Groups* groups_;
  std::string root_;
};

}  // namespace tweendeck::device

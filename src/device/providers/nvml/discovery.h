// What NVML knows about the GPUs of this machine, as plain devices. Blocking calls of some milliseconds each;
// one thread at a time.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/types.h"
#include "device/providers/nvml/nvml_api.h"

namespace tweendeck::device::nvml {

struct Identity {
  std::string provider;   // "nvidia"
  std::string id_prefix;  // "gpu": devices are gpu0, gpu1, ...
  std::string vendor;     // "NVIDIA"
  bool simulated = false;
};

// Watches for critical Xid errors (faults that the driver reports) since it was made.
class XidWatch {
 public:
  explicit XidWatch(const Api& api);
  ~XidWatch();
  XidWatch(const XidWatch&) = delete;
  XidWatch& operator=(const XidWatch&) = delete;

  // Takes what was reported meanwhile; does not wait.
  void collect();
  // The last critical Xid of the device, 0 = none.
  uint64_t last(Handle device) const;

 private:
  const Api& api_;
  EventSet set_ = nullptr;
  std::map<Handle, uint64_t> last_;
};

// All GPUs with their present health and links. `isolation` is left at None for the caller to fill in.
Result<std::vector<Device>> discover(const Api& api, const Identity& identity, const XidWatch& xids);

struct Process {
  uint32_t pid;
  uint64_t memory_bytes;  // 0 where the driver does not tell
};
// Compute processes on the GPU with this UUID.
Result<std::vector<Process>> processes(const Api& api, const std::string& uuid);

struct Utilization {
  uint32_t pid;
  uint32_t percent;  // of the device's multiprocessors, over the sampling period that ends at time_us
  uint64_t time_us;
};
// Samples later than `since_us`; empty when nobody was busy. Errors: Unsupported, DriverError.
Result<std::vector<Utilization>> utilization(const Api& api, const std::string& uuid, uint64_t since_us);

}  // namespace tweendeck::device::nvml

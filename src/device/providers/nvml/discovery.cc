#include "device/providers/nvml/discovery.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <cstring>
#include <fstream>
#include <optional>

namespace tweendeck::device::nvml {
namespace {

// nvmlMemoryErrorType_t, nvmlEccCounterType_t, nvmlGpuP2PCapsIndex_t, nvmlGpuP2PStatus_t
constexpr int kUncorrected = 1;
constexpr int kVolatile = 0;
constexpr int kP2pNvlink = 2;
constexpr int kP2pOk = 0;

// Xids that a program causes by itself: the device is fine (NVIDIA, "XID Errors": 13 illegal instruction, 31
// page fault, 43 stopped channel, 45 clean-up, 68 video, 109 context switch time-out).
constexpr std::array<uint64_t, 6> kApplicationXids{13, 31, 43, 45, 68, 109};

constexpr size_t kMaxProcesses = 4096;

Error failure(const Api& api, std::string_view call, int code) {
  return Error{Reason::DriverError, std::string(call) + " failed: " + api.error_text(code),
               "see dmesg for NVRM lines"};
}

// CUDA cores per multiprocessor by compute capability (CUDA C++ Programming Guide, "Compute Capabilities").
uint32_t cores_per_sm(int major, int minor) {
  if (major == 6 && minor == 0) return 64;
  if (major == 7) return 64;
  if (major == 8 && minor == 0) return 64;
  return 128;
}

uint32_t compute_units(const Api& api, Handle handle) {
  unsigned cores = 0;
  int major = 0, minor = 0;
  if (!api.nvmlDeviceGetNumGpuCores || !api.nvmlDeviceGetCudaComputeCapability) return 0;
  if (api.nvmlDeviceGetNumGpuCores(handle, &cores) != kSuccess) return 0;
  if (api.nvmlDeviceGetCudaComputeCapability(handle, &major, &minor) != kSuccess) return 0;
  return cores / cores_per_sm(major, minor);
}

std::string pci_bus_id(const Api& api, Handle handle) {
  PciInfo info{};
  if (!api.nvmlDeviceGetPciInfo_v3 || api.nvmlDeviceGetPciInfo_v3(handle, &info) != kSuccess) return "";
  std::string id(info.bus_id, strnlen(info.bus_id, sizeof(info.bus_id)));
  std::ranges::transform(id, id.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  // NVML writes the PCI domain with 8 digits, the kernel with 4.
  if (id.size() > 12 && id.starts_with("0000") && id[8] == ':') id.erase(0, 4);
  return id;
}

int numa_node(const Api& api, Handle handle, const std::string& bus_id) {
  unsigned node = 0;
  if (api.nvmlDeviceGetNumaNodeId && api.nvmlDeviceGetNumaNodeId(handle, &node) == kSuccess)
    return static_cast<int>(node);
  int value = -1;
  if (!bus_id.empty()) std::ifstream("/sys/bus/pci/devices/" + bus_id + "/numa_node") >> value;
  return value;
}

bool mig_enabled(const Api& api, Handle handle) {
  unsigned current = 0, pending = 0;
  return api.nvmlDeviceGetMigMode && api.nvmlDeviceGetMigMode(handle, &current, &pending) == kSuccess &&
         current == 1;
}

bool healthy(const Api& api, Handle handle, const XidWatch& xids) {
  unsigned long long errors = 0;
  if (api.nvmlDeviceGetTotalEccErrors &&
      api.nvmlDeviceGetTotalEccErrors(handle, kUncorrected, kVolatile, &errors) == kSuccess && errors > 0) {
    return false;
  }
  unsigned corrected = 0, uncorrected = 0, pending = 0, failed = 0;
  if (api.nvmlDeviceGetRemappedRows &&
      api.nvmlDeviceGetRemappedRows(handle, &corrected, &uncorrected, &pending, &failed) == kSuccess &&
      failed) {
    return false;
  }
  return xids.last(handle) == 0;
}

std::string_view link_kind(int topology_level) {
  // nvmlGpuTopologyLevel_t: 0 internal, 10 single switch, 20 several, 30 host bridge, 40 NUMA node, 50 system
  if (topology_level <= 20) return "pcie";
  if (topology_level <= 40) return "same-numa";
  return "system";
}

std::optional<std::string_view> link_between(const Api& api, Handle a, Handle b) {
  int status = -1;
  if (api.nvmlDeviceGetP2PStatus && api.nvmlDeviceGetP2PStatus(a, b, kP2pNvlink, &status) == kSuccess &&
      status == kP2pOk) {
    return "nvlink";
  }
  int level = 0;
  if (!api.nvmlDeviceGetTopologyCommonAncestor ||
      api.nvmlDeviceGetTopologyCommonAncestor(a, b, &level) != kSuccess) {
    return std::nullopt;
  }
  return link_kind(level);
}

Result<Device> describe(const Api& api, const Identity& identity, unsigned index, Handle handle,
                        const XidWatch& xids) {
  char uuid[kUuidBytes] = {}, name[kNameBytes] = {};
  if (const int code = api.nvmlDeviceGetUUID(handle, uuid, sizeof(uuid)); code != kSuccess) {
    return fail(failure(api, "nvmlDeviceGetUUID", code));
  }
  if (const int code = api.nvmlDeviceGetName(handle, name, sizeof(name)); code != kSuccess) {
    return fail(failure(api, "nvmlDeviceGetName", code));
  }
  Memory memory{};
  const int memory_code = api.nvmlDeviceGetMemoryInfo(handle, &memory);

  Device device;
  device.id = identity.id_prefix + std::to_string(index);
  device.provider = identity.provider;
  device.vendor = identity.vendor;
  device.model = name;
  device.uuid = uuid;
  device.pci_bus_id = pci_bus_id(api, handle);
  device.numa_node = numa_node(api, handle, device.pci_bus_id);
  device.memory_bytes = memory_code == kSuccess ? memory.total : 0;
  device.compute_units = compute_units(api, handle);
  device.mig_enabled = mig_enabled(api, handle);
  device.simulated = identity.simulated;
  device.healthy = memory_code == kSuccess && healthy(api, handle, xids);
  if (!device.healthy) device.health_reason = Reason::DeviceUnhealthy;
  return device;
}

}  // namespace

XidWatch::XidWatch(const Api& api) : api_(api) {
  if (!api.nvmlEventSetCreate || !api.nvmlEventSetFree || !api.nvmlDeviceRegisterEvents ||
      !api.nvmlEventSetWait_v2)
    return;
  unsigned count = 0;
  if (api.nvmlDeviceGetCount_v2(&count) != kSuccess || api.nvmlEventSetCreate(&set_) != kSuccess) return;
  for (unsigned i = 0; i < count; ++i) {
    Handle handle = nullptr;
    // Not every device supports events; those that do not just never report one.
    if (api.nvmlDeviceGetHandleByIndex_v2(i, &handle) == kSuccess)
      api.nvmlDeviceRegisterEvents(handle, kEventXidCritical, set_);
  }
}

XidWatch::~XidWatch() {
  if (set_) api_.nvmlEventSetFree(set_);
}

void XidWatch::collect() {
  constexpr int kMaxEventsAtOnce = 64;
  EventData event{};
  for (int i = 0; set_ && i < kMaxEventsAtOnce && api_.nvmlEventSetWait_v2(set_, &event, 0) == kSuccess;
       ++i) {
    if (event.type == kEventXidCritical &&
        std::ranges::find(kApplicationXids, event.data) == kApplicationXids.end()) {
      last_[event.device] = event.data;
    }
  }
}

uint64_t XidWatch::last(Handle device) const {
  const auto found = last_.find(device);
  return found == last_.end() ? 0 : found->second;
}

Result<std::vector<Device>> discover(const Api& api, const Identity& identity, const XidWatch& xids) {
  unsigned count = 0;
  if (const int code = api.nvmlDeviceGetCount_v2(&count); code != kSuccess) {
    return fail(failure(api, "nvmlDeviceGetCount_v2", code));
  }
  std::vector<Device> devices;
  std::vector<Handle> handles;
  for (unsigned i = 0; i < count; ++i) {
    Handle handle = nullptr;
    // A GPU that fell off the bus keeps its index but has no handle; the others stay usable.
    if (api.nvmlDeviceGetHandleByIndex_v2(i, &handle) != kSuccess) continue;
    Result<Device> device = describe(api, identity, i, handle, xids);
    if (!device) return fail(device.error());
    devices.push_back(std::move(*device));
    handles.push_back(handle);
  }
  for (size_t a = 0; a < devices.size(); ++a) {
    for (size_t b = 0; b < devices.size(); ++b) {
      if (a == b) continue;
      if (const auto kind = link_between(api, handles[a], handles[b])) {
        devices[a].links.push_back({devices[b].id, std::string(*kind)});
      }
    }
  }
  return devices;
}

Result<std::vector<Utilization>> utilization(const Api& api, const std::string& uuid, uint64_t since_us) {
  if (!api.nvmlDeviceGetHandleByUUID || !api.nvmlDeviceGetProcessUtilization) {
    return fail(Reason::Unsupported, "the driver does not measure processes", "update the driver");
  }
  Handle handle = nullptr;
  if (const int code = api.nvmlDeviceGetHandleByUUID(uuid.c_str(), &handle); code != kSuccess) {
    return fail(failure(api, "nvmlDeviceGetHandleByUUID " + uuid, code));
  }
  std::vector<ProcessUtilization> rows(kMaxProcesses);
  auto count = static_cast<unsigned>(rows.size());
  const int code = api.nvmlDeviceGetProcessUtilization(handle, rows.data(), &count, since_us);
  if (code == kNotFound) return std::vector<Utilization>{};
  if (code != kSuccess) return fail(failure(api, "nvmlDeviceGetProcessUtilization", code));
  std::vector<Utilization> samples;
  for (size_t i = 0; i < std::min<size_t>(count, rows.size()); ++i) {
    if (rows[i].time_us > since_us) samples.push_back({rows[i].pid, rows[i].sm_percent, rows[i].time_us});
  }
  return samples;
}

Result<std::vector<Process>> processes(const Api& api, const std::string& uuid) {
  if (!api.nvmlDeviceGetHandleByUUID || !api.nvmlDeviceGetComputeRunningProcesses_v3) {
    return fail(Reason::Unsupported, "the driver cannot list processes", "update the driver");
  }
  Handle handle = nullptr;
  if (const int code = api.nvmlDeviceGetHandleByUUID(uuid.c_str(), &handle); code != kSuccess) {
    return fail(failure(api, "nvmlDeviceGetHandleByUUID " + uuid, code));
  }
  std::vector<ProcessInfo> infos(64);
  while (true) {
    unsigned count = static_cast<unsigned>(infos.size());
    const int code = api.nvmlDeviceGetComputeRunningProcesses_v3(handle, &count, infos.data());
    if (code == kInsufficientSize && infos.size() < kMaxProcesses) {
      infos.resize(infos.size() * 2);
      continue;
    }
    if (code != kSuccess) return fail(failure(api, "nvmlDeviceGetComputeRunningProcesses_v3", code));
    infos.resize(std::min<size_t>(count, infos.size()));
    break;
  }
  std::vector<Process> found;
  for (const ProcessInfo& info : infos) {
    found.push_back({info.pid, info.used_memory == kValueNotAvailable ? 0 : info.used_memory});
  }
  return found;
}

}  // namespace tweendeck::device::nvml

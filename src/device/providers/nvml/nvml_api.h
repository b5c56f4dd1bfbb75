// NVIDIA's management library, loaded at run time: our own declarations of the part that is used, so that
// nothing of NVIDIA's is needed to build and a machine without a driver simply has no such library.
//
// Functions that newer drivers added are null where the library lacks them. Calls are thread-safe as NVML's
// are.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <type_traits>

#include "base/result.h"

namespace tweendeck::device::nvml {

using Handle = struct NvmlDevice*;
using EventSet = struct NvmlEventSet*;

// nvmlReturn_t values that are told apart.
enum Code : int {
  kSuccess = 0,
  kNotSupported = 3,
  kNotFound = 6,
  kInsufficientSize = 7,
  kTimeout = 10,
  kGpuIsLost = 15,
};

inline constexpr uint64_t kValueNotAvailable = ~0ull;
inline constexpr unsigned kUuidBytes = 96;
inline constexpr unsigned kNameBytes = 96;

struct Memory {
  unsigned long long total, free, used;
};

struct PciInfo {
  char bus_id_legacy[16];
  unsigned domain, bus, device, pci_device_id, pci_subsystem_id;
  char bus_id[32];
};
static_assert(sizeof(PciInfo) == 68);

struct ProcessInfo {  // nvmlProcessInfo_t of the _v3 call
  unsigned pid;
  unsigned long long used_memory;
  unsigned gpu_instance, compute_instance;
};
static_assert(sizeof(ProcessInfo) == 24);

struct ProcessUtilization {  // nvmlProcessUtilizationSample_t
  unsigned pid;
  unsigned long long time_us;
  unsigned sm_percent, memory_percent, encoder_percent, decoder_percent;
};
static_assert(sizeof(ProcessUtilization) == 32);

struct EventData {
  Handle device;
  unsigned long long type, data;
  unsigned gpu_instance, compute_instance;
};
static_assert(sizeof(EventData) == 32);

inline constexpr unsigned long long kEventXidCritical = 0x8;

// name, required, signature
#define TW_NVML_FUNCTIONS(X)                                                                                 \
  X(nvmlInit_v2, true, int())                                                                                \
  X(nvmlShutdown, true, int())                                                                               \
  X(nvmlErrorString, true, const char*(int))                                                                 \
  X(nvmlSystemGetDriverVersion, false, int(char*, unsigned))                                                 \
  X(nvmlDeviceGetCount_v2, true, int(unsigned*))                                                             \
  X(nvmlDeviceGetHandleByIndex_v2, true, int(unsigned, Handle*))                                             \
  X(nvmlDeviceGetHandleByUUID, false, int(const char*, Handle*))                                             \
  X(nvmlDeviceGetUUID, true, int(Handle, char*, unsigned))                                                   \
  X(nvmlDeviceGetName, true, int(Handle, char*, unsigned))                                                   \
  X(nvmlDeviceGetMemoryInfo, true, int(Handle, Memory*))                                                     \
  X(nvmlDeviceGetPciInfo_v3, false, int(Handle, PciInfo*))                                                   \
  X(nvmlDeviceGetNumaNodeId, false, int(Handle, unsigned*))                                                  \
  X(nvmlDeviceGetMigMode, false, int(Handle, unsigned*, unsigned*))                                          \
  X(nvmlDeviceGetNumGpuCores, false, int(Handle, unsigned*))                                                 \
  X(nvmlDeviceGetCudaComputeCapability, false, int(Handle, int*, int*))                                      \
  X(nvmlDeviceGetTopologyCommonAncestor, false, int(Handle, Handle, int*))                                   \
  X(nvmlDeviceGetP2PStatus, false, int(Handle, Handle, int, int*))                                           \
  X(nvmlDeviceGetTotalEccErrors, false, int(Handle, int, int, unsigned long long*))                          \
  X(nvmlDeviceGetRemappedRows, false, int(Handle, unsigned*, unsigned*, unsigned*, unsigned*))               \
  X(nvmlDeviceGetComputeRunningProcesses_v3, false, int(Handle, unsigned*, ProcessInfo*))                    \
  X(nvmlDeviceGetProcessUtilization, false, int(Handle, ProcessUtilization*, unsigned*, unsigned long long)) \
  X(nvmlEventSetCreate, false, int(EventSet*))                                                               \
  X(nvmlEventSetFree, false, int(EventSet))                                                                  \
  X(nvmlDeviceRegisterEvents, false, int(Handle, unsigned long long, EventSet))                              \
  X(nvmlEventSetWait_v2, false, int(EventSet, EventData*, unsigned))

class Api {
 public:
  // Loads and initialises `library`: a path, or a name for the system's search.
  // Errors: DriverMissing, DriverError.
  static Result<std::unique_ptr<Api>> load(const std::string& library);
  ~Api();
  Api(const Api&) = delete;
  Api& operator=(const Api&) = delete;

  std::string error_text(int code) const { return nvmlErrorString(code); }
  const std::string& path() const { return path_; }  // of the file that was loaded

#define TW_NVML_MEMBER(name, required, ...) std::add_pointer_t<__VA_ARGS__> name = nullptr;
  TW_NVML_FUNCTIONS(TW_NVML_MEMBER)
#undef TW_NVML_MEMBER

 private:
  Api() = default;
  Status resolve();

  void* library_ = nullptr;
  bool initialised_ = false;
  std::string path_;
};

}  // namespace tweendeck::device::nvml

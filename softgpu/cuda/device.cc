// cuInit, versions, errors, devices and their attributes.
#include <cstdio>
#include <cstring>

#include "softgpu/cuda/api.h"
#include "softgpu/cuda/driver.h"
#include "softgpu/model/cards.h"

using namespace tweendeck::softgpu;

namespace {

struct ErrorText {
  int code;
  const char* name;
  const char* text;
};
constexpr ErrorText kErrors[] = {
#define TW_CUDA_ERROR(name, code, text) {code, #name, text},
#include "softgpu/cuda/errors.def"
#undef TW_CUDA_ERROR
};

const ErrorText* find_error(CUresult code) {
  for (const ErrorText& error : kErrors) {
    if (error.code == code) return &error;
  }
  return nullptr;
}

struct Attribute {
  int id;
  int64_t value;
};

// CUdevice_attribute. What is not listed but known to CUDA 13 (up to kLastAttribute) is 0: not supported.
constexpr int kLastAttribute = 161;

int64_t attribute_value(const CardInfo& card, int id) {
  const Attribute attributes[] = {
      {1, kMaxThreadsPerBlock},                  // MAX_THREADS_PER_BLOCK
      {2, 1024},                                 // MAX_BLOCK_DIM_X
      {3, 1024},                                 // MAX_BLOCK_DIM_Y
      {4, 64},                                   // MAX_BLOCK_DIM_Z
      {5, INT32_MAX},                            // MAX_GRID_DIM_X
      {6, 65535},                                // MAX_GRID_DIM_Y
      {7, 65535},                                // MAX_GRID_DIM_Z
      {8, 48 << 10},                             // MAX_SHARED_MEMORY_PER_BLOCK
      {9, 64 << 10},                             // TOTAL_CONSTANT_MEMORY
      {10, 32},                                  // WARP_SIZE
      {11, INT32_MAX},                           // MAX_PITCH
      {12, 65536},                               // MAX_REGISTERS_PER_BLOCK
      {13, card.sm_clock_mhz * 1000LL},          // CLOCK_RATE, kHz
      {14, 512},                                 // TEXTURE_ALIGNMENT
      {15, 1},                                   // GPU_OVERLAP
      {16, card.sm_count},                       // MULTIPROCESSOR_COUNT
      {19, 1},                                   // CAN_MAP_HOST_MEMORY
      {31, 1},                                   // CONCURRENT_KERNELS
      {33, card.pci_bus},                        // PCI_BUS_ID
      {34, 0},                                   // PCI_DEVICE_ID
      {36, card.memory_clock_mhz * 1000LL},      // MEMORY_CLOCK_RATE, kHz
      {37, card.memory_bus_bits},                // GLOBAL_MEMORY_BUS_WIDTH
      {38, card.l2_bytes},                       // L2_CACHE_SIZE
      {39, card.threads_per_sm},                 // MAX_THREADS_PER_MULTIPROCESSOR
      {40, 2},                                   // ASYNC_ENGINE_COUNT
      {41, 1},                                   // UNIFIED_ADDRESSING
      {50, card.pci_domain},                     // PCI_DOMAIN_ID
      {51, 32},                                  // TEXTURE_PITCH_ALIGNMENT
      {75, card.compute_major},                  // COMPUTE_CAPABILITY_MAJOR
      {76, card.compute_minor},                  // COMPUTE_CAPABILITY_MINOR
      {78, 1},                                   // STREAM_PRIORITIES_SUPPORTED
      {79, 1},                                   // GLOBAL_L1_CACHE_SUPPORTED
      {80, 1},                                   // LOCAL_L1_CACHE_SUPPORTED
      {81, card.shared_memory_per_sm},           // MAX_SHARED_MEMORY_PER_MULTIPROCESSOR
      {82, 65536},                               // MAX_REGISTERS_PER_MULTIPROCESSOR
      {83, 1},                                   // MANAGED_MEMORY
      {87, 2},                                   // SINGLE_TO_DOUBLE_PRECISION_PERF_RATIO
      {90, 1},                                   // COMPUTE_PREEMPTION_SUPPORTED
      {91, 1},                                   // CAN_USE_HOST_POINTER_FOR_REGISTERED_MEM
      {95, 1},                                   // COOPERATIVE_LAUNCH
      {97, card.shared_memory_per_block_optin},  // MAX_SHARED_MEMORY_PER_BLOCK_OPTIN
      {99, 1},                                   // HOST_REGISTER_SUPPORTED
      {102, 1},                                  // VIRTUAL_MEMORY_MANAGEMENT_SUPPORTED
      {103, 1},                                  // HANDLE_TYPE_POSIX_FILE_DESCRIPTOR_SUPPORTED
      {106, kMaxBlocksPerSm},                    // MAX_BLOCKS_PER_MULTIPROCESSOR
      {111, 1024},                               // RESERVED_SHARED_MEMORY_PER_BLOCK
      {113, 1},                                  // READ_ONLY_HOST_REGISTER_SUPPORTED
      {115, 1},                                  // MEMORY_POOLS_SUPPORTED
      {120, card.compute_major >= 9 ? 1 : 0},    // CLUSTER_LAUNCH
      {126, 1},                                  // MEM_SYNC_DOMAIN_COUNT
      {131, card.numa_node},                     // NUMA_ID
      {134, card.numa_node},                     // HOST_NUMA_ID
      {139, card.pci_device_id},                 // GPU_PCI_DEVICE_ID
  };
  for (const Attribute& attribute : attributes) {
    if (attribute.id == id) return attribute.value;
  }
  return 0;
}

}  // namespace

CUresult cuInit(unsigned flags) {
  if (flags != 0) return CUDA_ERROR_INVALID_VALUE;
  return Driver::init();
}

CUresult cuDriverGetVersion(int* version) {
  if (version == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *version = kDriverVersion;
  return CUDA_SUCCESS;
}

CUresult cuGetErrorName(CUresult code, const char** name) {
  const ErrorText* error = find_error(code);
  if (name == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *name = error == nullptr ? nullptr : error->name;
  return error == nullptr ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

CUresult cuGetErrorString(CUresult code, const char** text) {
  const ErrorText* error = find_error(code);
  if (text == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *text = error == nullptr ? nullptr : error->text;
  return error == nullptr ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

CUresult cuDeviceGetCount(int* count) {
  TW_DRIVER(driver);
  if (count == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *count = driver->device_count();
  return CUDA_SUCCESS;
}

CUresult cuDeviceGet(CUdevice* device, int ordinal) {
  TW_DRIVER(driver);
  if (device == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (driver->device(ordinal) == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  *device = ordinal;
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetName(char* name, int length, CUdevice device) {
  TW_DRIVER(driver);
  if (name == nullptr || length <= 0) return CUDA_ERROR_INVALID_VALUE;
  if (driver->device(device) == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  snprintf(name, static_cast<size_t>(length), "%s", driver->info(device).name);
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetUuid(CUuuid* uuid, CUdevice device) {
  TW_DRIVER(driver);
  if (uuid == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (driver->device(device) == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  memcpy(uuid->bytes, driver->info(device).uuid, sizeof uuid->bytes);
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetUuid_v2(CUuuid* uuid, CUdevice device) {
  return cuDeviceGetUuid(uuid, device);
}

CUresult cuDeviceTotalMem_v2(size_t* bytes, CUdevice device) {
  TW_DRIVER(driver);
  if (bytes == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (driver->device(device) == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  *bytes = driver->info(device).memory_bytes;
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetAttribute(int* value, int attribute, CUdevice device) {
  TW_DRIVER(driver);
  if (value == nullptr || attribute < 1 || attribute > kLastAttribute) return CUDA_ERROR_INVALID_VALUE;
  if (driver->device(device) == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  *value = static_cast<int>(attribute_value(driver->info(device), attribute));
  return CUDA_SUCCESS;
}

CUresult cuDeviceComputeCapability(int* major, int* minor, CUdevice device) {
  TW_DRIVER(driver);
  if (major == nullptr || minor == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (driver->device(device) == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  *major = static_cast<int>(driver->info(device).compute_major);
  *minor = static_cast<int>(driver->info(device).compute_minor);
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetPCIBusId(char* text, int length, CUdevice device) {
  TW_DRIVER(driver);
  if (text == nullptr || length <= 0) return CUDA_ERROR_INVALID_VALUE;
  if (driver->device(device) == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  const CardInfo& card = driver->info(device);
  snprintf(text, static_cast<size_t>(length), "%04X:%02X:00.0", card.pci_domain, card.pci_bus);
  return CUDA_SUCCESS;
}

CUresult cuDeviceGetByPCIBusId(CUdevice* device, const char* text) {
  TW_DRIVER(driver);
  if (device == nullptr || text == nullptr) return CUDA_ERROR_INVALID_VALUE;
  for (int i = 0; i < driver->device_count(); ++i) {
    char own[32];
    cuDeviceGetPCIBusId(own, sizeof own, i);
    if (strcasecmp(own, text) == 0) {
      *device = i;
      return CUDA_SUCCESS;
    }
  }
  return CUDA_ERROR_INVALID_DEVICE;
}

CUresult cuDeviceCanAccessPeer(int* can, CUdevice device, CUdevice peer) {
  TW_DRIVER(driver);
  if (can == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (driver->device(device) == nullptr || driver->device(peer) == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  *can = device != peer ? 1 : 0;
  return CUDA_SUCCESS;
}

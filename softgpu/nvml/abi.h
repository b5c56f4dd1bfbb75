// Our own declarations of the part of the NVML ABI (v13) that the stand-in offers. Names and numbers are the
// ABI's.
#pragma once

#include <cstddef>
#include <cstdint>

#ifndef TW_EXPORT
#define TW_EXPORT extern "C" __attribute__((visibility("default")))
#endif

enum nvmlReturn : int {
  NVML_SUCCESS = 0,
  NVML_ERROR_UNINITIALIZED = 1,
  NVML_ERROR_INVALID_ARGUMENT = 2,
  NVML_ERROR_NOT_SUPPORTED = 3,
  NVML_ERROR_NOT_FOUND = 6,
  NVML_ERROR_INSUFFICIENT_SIZE = 7,
  NVML_ERROR_DRIVER_NOT_LOADED = 9,
  NVML_ERROR_ARGUMENT_VERSION_MISMATCH = 25,
};

using nvmlDevice = struct nvmlDevice_st*;

struct nvmlPciInfo {
  char bus_id_legacy[16];
  unsigned domain;
  unsigned bus;
  unsigned device;
  unsigned pci_device_id;
  unsigned pci_subsystem_id;
  char bus_id[32];
};
static_assert(sizeof(nvmlPciInfo) == 68);

struct nvmlMemory {
  unsigned long long total, free, used;
};

struct nvmlMemory_v2 {
  unsigned version;
  unsigned long long total, reserved, free, used;
};
inline constexpr unsigned kMemoryVersion2 = sizeof(nvmlMemory_v2) | 2u << 24;
static_assert(kMemoryVersion2 == 0x02000028);

struct nvmlBar1Memory {
  unsigned long long total, free, used;
};

struct nvmlUtilization {
  unsigned gpu, memory;
};

// nvmlDeviceGet*RunningProcesses writes the first two fields, its _v2 and _v3 forms all.
struct nvmlProcessInfo_v1 {
  unsigned pid;
  unsigned long long used_memory;
};
struct nvmlProcessInfo {
  unsigned pid;
  unsigned long long used_memory;
  unsigned gpu_instance, compute_instance;
};
static_assert(sizeof(nvmlProcessInfo_v1) == 16 && sizeof(nvmlProcessInfo) == 24);

struct nvmlProcessUtilizationSample {
  unsigned pid;
  unsigned long long time_us;
  unsigned sm, memory, encoder, decoder;
};
static_assert(sizeof(nvmlProcessUtilizationSample) == 32);

struct nvmlTemperature {
  unsigned version;
  int sensor;
  int celsius;
};
inline constexpr unsigned kTemperatureVersion1 = sizeof(nvmlTemperature) | 1u << 24;
static_assert(kTemperatureVersion1 == 0x0100000C);

// Every NVML call that the stand-in exports, in our own words. All are safe from any thread; what a call
// means is NVML's. Array calls whose count is too small answer NVML_ERROR_INSUFFICIENT_SIZE and the count
// that is needed.
#pragma once

#include "softgpu/nvml/abi.h"

// system.cc
TW_EXPORT nvmlReturn nvmlInit_v2();
TW_EXPORT nvmlReturn nvmlInitWithFlags(unsigned);
TW_EXPORT nvmlReturn nvmlShutdown();
TW_EXPORT const char* nvmlErrorString(nvmlReturn error);
TW_EXPORT nvmlReturn nvmlSystemGetDriverVersion(char* out, unsigned length);
TW_EXPORT nvmlReturn nvmlSystemGetNVMLVersion(char* out, unsigned length);
TW_EXPORT nvmlReturn nvmlSystemGetCudaDriverVersion(int* version);
TW_EXPORT nvmlReturn nvmlSystemGetCudaDriverVersion_v2(int* version);
TW_EXPORT nvmlReturn nvmlSystemGetProcessName(unsigned pid, char* out, unsigned length);
TW_EXPORT nvmlReturn nvmlDeviceGetCount_v2(unsigned* count);
TW_EXPORT nvmlReturn nvmlDeviceGetHandleByIndex_v2(unsigned index, nvmlDevice* device);
TW_EXPORT nvmlReturn nvmlDeviceGetHandleByUUID(const char* uuid, nvmlDevice* device);
TW_EXPORT nvmlReturn nvmlDeviceGetHandleByPciBusId_v2(const char* bus_id, nvmlDevice* device);
TW_EXPORT nvmlReturn nvmlDeviceGetIndex(nvmlDevice device, unsigned* index);
TW_EXPORT nvmlReturn nvmlDeviceGetName(nvmlDevice device, char* out, unsigned length);
TW_EXPORT nvmlReturn nvmlDeviceGetUUID(nvmlDevice device, char* out, unsigned length);
TW_EXPORT nvmlReturn nvmlDeviceGetPciInfo_v3(nvmlDevice device, nvmlPciInfo* out);

// usage.cc
TW_EXPORT nvmlReturn nvmlDeviceGetMemoryInfo(nvmlDevice device, nvmlMemory* out);
TW_EXPORT nvmlReturn nvmlDeviceGetMemoryInfo_v2(nvmlDevice device, nvmlMemory_v2* out);
TW_EXPORT nvmlReturn nvmlDeviceGetBAR1MemoryInfo(nvmlDevice device, nvmlBar1Memory* out);
TW_EXPORT nvmlReturn nvmlDeviceGetUtilizationRates(nvmlDevice device, nvmlUtilization* out);
TW_EXPORT nvmlReturn nvmlDeviceGetProcessUtilization(nvmlDevice device, nvmlProcessUtilizationSample* samples,
                                                     unsigned* count, unsigned long long last_seen_us);
TW_EXPORT nvmlReturn nvmlDeviceGetComputeRunningProcesses(nvmlDevice device, unsigned* count,
                                                          nvmlProcessInfo_v1* infos);
TW_EXPORT nvmlReturn nvmlDeviceGetComputeRunningProcesses_v2(nvmlDevice device, unsigned* count,
                                                             nvmlProcessInfo* infos);
TW_EXPORT nvmlReturn nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice device, unsigned* count,
                                                             nvmlProcessInfo* infos);
TW_EXPORT nvmlReturn nvmlDeviceGetGraphicsRunningProcesses(nvmlDevice device, unsigned* count,
                                                           nvmlProcessInfo_v1*);
TW_EXPORT nvmlReturn nvmlDeviceGetGraphicsRunningProcesses_v2(nvmlDevice device, unsigned* count,
                                                              nvmlProcessInfo*);
TW_EXPORT nvmlReturn nvmlDeviceGetGraphicsRunningProcesses_v3(nvmlDevice device, unsigned* count,
                                                              nvmlProcessInfo*);

// board.cc
TW_EXPORT nvmlReturn nvmlDeviceGetTemperature(nvmlDevice device, int sensor, unsigned* celsius);
TW_EXPORT nvmlReturn nvmlDeviceGetTemperatureV(nvmlDevice device, nvmlTemperature* out);
TW_EXPORT nvmlReturn nvmlDeviceGetTemperatureThreshold(nvmlDevice device, int threshold, unsigned* celsius);
TW_EXPORT nvmlReturn nvmlDeviceGetPowerUsage(nvmlDevice device, unsigned* milliwatts);
TW_EXPORT nvmlReturn nvmlDeviceGetPowerManagementLimit(nvmlDevice device, unsigned* mw);
TW_EXPORT nvmlReturn nvmlDeviceGetPowerManagementDefaultLimit(nvmlDevice device, unsigned* mw);
TW_EXPORT nvmlReturn nvmlDeviceGetEnforcedPowerLimit(nvmlDevice device, unsigned* mw);
TW_EXPORT nvmlReturn nvmlDeviceGetPowerManagementLimitConstraints(nvmlDevice device, unsigned* low,
                                                                  unsigned* high);
TW_EXPORT nvmlReturn nvmlDeviceGetClockInfo(nvmlDevice device, unsigned type, unsigned* mhz);
TW_EXPORT nvmlReturn nvmlDeviceGetMaxClockInfo(nvmlDevice device, unsigned type, unsigned* mhz);
TW_EXPORT nvmlReturn nvmlDeviceGetPerformanceState(nvmlDevice device, unsigned* state);
TW_EXPORT nvmlReturn nvmlDeviceGetEncoderUtilization(nvmlDevice device, unsigned* percent,
                                                     unsigned* period_us);
TW_EXPORT nvmlReturn nvmlDeviceGetDecoderUtilization(nvmlDevice device, unsigned* percent,
                                                     unsigned* period_us);
TW_EXPORT nvmlReturn nvmlDeviceGetPcieThroughput(nvmlDevice device, unsigned, unsigned* kib);
TW_EXPORT nvmlReturn nvmlDeviceGetCurrPcieLinkWidth(nvmlDevice device, unsigned* lanes);
TW_EXPORT nvmlReturn nvmlDeviceGetMaxPcieLinkWidth(nvmlDevice device, unsigned* lanes);
TW_EXPORT nvmlReturn nvmlDeviceGetMaxPcieLinkGeneration(nvmlDevice device, unsigned* generation);
TW_EXPORT nvmlReturn nvmlDeviceGetCurrPcieLinkGeneration(nvmlDevice device, unsigned* generation);
TW_EXPORT nvmlReturn nvmlDeviceGetPersistenceMode(nvmlDevice device, unsigned* mode);
TW_EXPORT nvmlReturn nvmlDeviceGetDisplayActive(nvmlDevice device, unsigned* active);
TW_EXPORT nvmlReturn nvmlDeviceGetDisplayMode(nvmlDevice device, unsigned* active);
TW_EXPORT nvmlReturn nvmlDeviceGetComputeMode(nvmlDevice device, unsigned* mode);
TW_EXPORT nvmlReturn nvmlDeviceGetMinorNumber(nvmlDevice device, unsigned* minor);
TW_EXPORT nvmlReturn nvmlDeviceGetCudaComputeCapability(nvmlDevice device, int* major, int* minor);
TW_EXPORT nvmlReturn nvmlDeviceGetNumGpuCores(nvmlDevice device, unsigned* cores);
TW_EXPORT nvmlReturn nvmlDeviceGetMemoryBusWidth(nvmlDevice device, unsigned* bits);
TW_EXPORT nvmlReturn nvmlDeviceGetNumaNodeId(nvmlDevice device, unsigned* node);
TW_EXPORT nvmlReturn nvmlDeviceGetEccMode(nvmlDevice device, unsigned* current, unsigned* pending);
TW_EXPORT nvmlReturn nvmlDeviceGetFanSpeed(nvmlDevice device, unsigned*);
TW_EXPORT nvmlReturn nvmlDeviceGetTotalEccErrors(nvmlDevice device, int, int, unsigned long long*);
TW_EXPORT nvmlReturn nvmlDeviceGetMigMode(nvmlDevice device, unsigned*, unsigned*);
TW_EXPORT nvmlReturn nvmlDeviceGetMaxMigDeviceCount(nvmlDevice device, unsigned* count);
TW_EXPORT nvmlReturn nvmlDeviceGetDriverModel(nvmlDevice device, unsigned*, unsigned*);
TW_EXPORT nvmlReturn nvmlDeviceGetDriverModel_v2(nvmlDevice device, unsigned*, unsigned*);
TW_EXPORT nvmlReturn nvmlDeviceIsMigDeviceHandle(nvmlDevice device, unsigned* is_mig);

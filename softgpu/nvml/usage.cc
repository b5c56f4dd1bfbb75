// Memory, utilisation and processes: what the device model measured.
#include <algorithm>
#include <vector>

#include "softgpu/nvml/api.h"
#include "softgpu/nvml/state.h"

using namespace tweendeck::softgpu;

namespace {

// Array calls: a null array or a count that is too small answers with the count that is needed.
template <class Info, class Fill>
nvmlReturn list_processes(nvmlDevice device, unsigned* count, Info* infos, Fill fill) {
  TW_NVML_CARD(model, device, card);
  if (count == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  const auto processes = nvml::shows_processes() ? model->usage(card).processes : std::vector<ProcessUsage>{};
  const auto needed = static_cast<unsigned>(processes.size());
  const unsigned room = infos == nullptr ? 0 : *count;
  *count = needed;
  if (needed > room) return NVML_ERROR_INSUFFICIENT_SIZE;
  for (unsigned i = 0; i < needed; ++i) infos[i] = fill(processes[i]);
  return NVML_SUCCESS;
}

constexpr unsigned kNoInstance = 0xFFFFFFFF;  // MIG instance of a process on a card without MIG

nvmlProcessInfo describe(const ProcessUsage& process) {
  return {static_cast<unsigned>(process.pid), process.memory_bytes, kNoInstance, kNoInstance};
}

nvmlProcessInfo_v1 describe_v1(const ProcessUsage& process) {
  return {static_cast<unsigned>(process.pid), process.memory_bytes};
}

nvmlReturn no_processes(nvmlDevice device, unsigned* count) {
  TW_NVML_CARD(model, device, card);
  if (count == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  *count = 0;
  return NVML_SUCCESS;
}

}  // namespace

nvmlReturn nvmlDeviceGetMemoryInfo(nvmlDevice device, nvmlMemory* out) {
  TW_NVML_CARD(model, device, card);
  if (out == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  out->total = model->info(card).memory_bytes;
  out->used = std::min<uint64_t>(model->usage(card).used_bytes, out->total);
  out->free = out->total - out->used;
  return NVML_SUCCESS;
}

nvmlReturn nvmlDeviceGetMemoryInfo_v2(nvmlDevice device, nvmlMemory_v2* out) {
  nvmlMemory memory{};
  if (out == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  if (out->version != kMemoryVersion2) return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
  const nvmlReturn result = nvmlDeviceGetMemoryInfo(device, &memory);
  if (result != NVML_SUCCESS) return result;
  *out = {kMemoryVersion2, memory.total, 0, memory.free, memory.used};
  return NVML_SUCCESS;
}

nvmlReturn nvmlDeviceGetBAR1MemoryInfo(nvmlDevice device, nvmlBar1Memory* out) {
  TW_NVML_CARD(model, device, card);
  if (out == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  const uint64_t total = model->info(card).memory_bytes;
  *out = {total, total, 0};
  return NVML_SUCCESS;
}

nvmlReturn nvmlDeviceGetUtilizationRates(nvmlDevice device, nvmlUtilization* out) {
  TW_NVML_CARD(model, device, card);
  if (out == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  // Timed kernels move no bytes, so the memory controller is as idle as it looks.
  *out = {model->usage(card).sm_percent, 0};
  return NVML_SUCCESS;
}

// One row per process that was busy in the newest sample, if that is later than `last_seen_us`.
nvmlReturn nvmlDeviceGetProcessUtilization(nvmlDevice device, nvmlProcessUtilizationSample* samples,
                                           unsigned* count, unsigned long long last_seen_us) {
  TW_NVML_CARD(model, device, card);
  if (count == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  constexpr uint64_t kNsPerUs = 1000;
  const CardUsage usage = model->usage(card);
  const uint64_t time_us = usage.sample_time_ns == 0 ? 0 : model->wall_ns(usage.sample_time_ns) / kNsPerUs;
  const auto busy = static_cast<unsigned>(std::ranges::count_if(
      usage.processes, [](const ProcessUsage& process) { return process.sm_percent > 0; }));
  const unsigned room = samples == nullptr ? 0 : *count;
  if (busy > room) {
    *count = static_cast<unsigned>(usage.processes.size());
    return NVML_ERROR_INSUFFICIENT_SIZE;
  }
  *count = 0;
  if (time_us <= last_seen_us || busy == 0) return NVML_ERROR_NOT_FOUND;
  for (const ProcessUsage& process : usage.processes) {
    if (process.sm_percent == 0) continue;
    samples[(*count)++] = {static_cast<unsigned>(process.pid), time_us, process.sm_percent, 0, 0, 0};
  }
  return NVML_SUCCESS;
}

nvmlReturn nvmlDeviceGetComputeRunningProcesses(nvmlDevice device, unsigned* count,
                                                nvmlProcessInfo_v1* infos) {
  return list_processes(device, count, infos, describe_v1);
}
nvmlReturn nvmlDeviceGetComputeRunningProcesses_v2(nvmlDevice device, unsigned* count,
                                                   nvmlProcessInfo* infos) {
  return list_processes(device, count, infos, describe);
}
nvmlReturn nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice device, unsigned* count,
                                                   nvmlProcessInfo* infos) {
  return list_processes(device, count, infos, describe);
}
nvmlReturn nvmlDeviceGetGraphicsRunningProcesses(nvmlDevice device, unsigned* count, nvmlProcessInfo_v1*) {
  return no_processes(device, count);
}
nvmlReturn nvmlDeviceGetGraphicsRunningProcesses_v2(nvmlDevice device, unsigned* count, nvmlProcessInfo*) {
  return no_processes(device, count);
}
nvmlReturn nvmlDeviceGetGraphicsRunningProcesses_v3(nvmlDevice device, unsigned* count, nvmlProcessInfo*) {
  return no_processes(device, count);
}

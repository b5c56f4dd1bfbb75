// Clocks, power, temperature, links, modes. A simulated card has no sensors: power and temperature are a
// straight line from idle to full utilisation, everything else is constant or not supported.
#include "softgpu/nvml/api.h"
#include "softgpu/nvml/state.h"

using namespace tweendeck::softgpu;

namespace {

constexpr unsigned kIdleCelsius = 32;
constexpr unsigned kBusyCelsius = 67;
constexpr unsigned kShutdownCelsius = 95;
constexpr unsigned kSlowdownCelsius = 90;
constexpr unsigned kIdleClockMhz = 345;
constexpr unsigned kPcieLanes = 16;
constexpr unsigned kHighestPerformanceState = 0;  // P0
constexpr unsigned kIdlePerformanceState = 8;
constexpr unsigned kMemoryClock = 2;  // nvmlClockType
constexpr unsigned kClockTypes = 4;

template <class T>
nvmlReturn give(T* out, T value) {
  if (out == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  *out = value;
  return NVML_SUCCESS;
}

unsigned between(unsigned idle, unsigned full, unsigned percent) {
  return idle + (full - idle) * percent / 100;
}

nvmlReturn not_supported(nvmlDevice device) {
  TW_NVML_CARD(model, device, card);
  return NVML_ERROR_NOT_SUPPORTED;
}

nvmlReturn power_limit(nvmlDevice device, unsigned* milliwatts) {
  TW_NVML_CARD(model, device, card);
  return give(milliwatts, model->info(card).power_limit_mw);
}

nvmlReturn max_clock(nvmlDevice device, unsigned type, unsigned* mhz) {
  TW_NVML_CARD(model, device, card);
  if (type >= kClockTypes) return NVML_ERROR_INVALID_ARGUMENT;
  const CardInfo& info = model->info(card);
  return give(mhz, type == kMemoryClock ? info.memory_clock_mhz : info.sm_clock_mhz);
}

nvmlReturn constant(nvmlDevice device, unsigned* out, unsigned value) {
  TW_NVML_CARD(model, device, card);
  return give(out, value);
}

}  // namespace

nvmlReturn nvmlDeviceGetTemperature(nvmlDevice device, int sensor, unsigned* celsius) {
  TW_NVML_CARD(model, device, card);
  if (sensor != 0) return NVML_ERROR_INVALID_ARGUMENT;
  return give(celsius, between(kIdleCelsius, kBusyCelsius, model->usage(card).sm_percent));
}

nvmlReturn nvmlDeviceGetTemperatureV(nvmlDevice device, nvmlTemperature* out) {
  if (out == nullptr) return NVML_ERROR_INVALID_ARGUMENT;
  if (out->version != kTemperatureVersion1) return NVML_ERROR_ARGUMENT_VERSION_MISMATCH;
  unsigned celsius = 0;
  const nvmlReturn result = nvmlDeviceGetTemperature(device, out->sensor, &celsius);
  out->celsius = static_cast<int>(celsius);
  return result;
}

nvmlReturn nvmlDeviceGetTemperatureThreshold(nvmlDevice device, int threshold, unsigned* celsius) {
  constexpr int kShutdown = 0;
  constexpr int kSlowdown = 1;
  if (threshold == kShutdown) return constant(device, celsius, kShutdownCelsius);
  if (threshold == kSlowdown) return constant(device, celsius, kSlowdownCelsius);
  return not_supported(device);
}

nvmlReturn nvmlDeviceGetPowerUsage(nvmlDevice device, unsigned* milliwatts) {
  TW_NVML_CARD(model, device, card);
  const CardInfo& info = model->info(card);
  return give(milliwatts, between(info.idle_power_mw, info.power_limit_mw, model->usage(card).sm_percent));
}

nvmlReturn nvmlDeviceGetPowerManagementLimit(nvmlDevice device, unsigned* mw) {
  return power_limit(device, mw);
}
nvmlReturn nvmlDeviceGetPowerManagementDefaultLimit(nvmlDevice device, unsigned* mw) {
  return power_limit(device, mw);
}
nvmlReturn nvmlDeviceGetEnforcedPowerLimit(nvmlDevice device, unsigned* mw) {
  return power_limit(device, mw);
}

nvmlReturn nvmlDeviceGetPowerManagementLimitConstraints(nvmlDevice device, unsigned* low, unsigned* high) {
  TW_NVML_CARD(model, device, card);
  const nvmlReturn result = give(low, model->info(card).idle_power_mw);
  return result != NVML_SUCCESS ? result : give(high, model->info(card).power_limit_mw);
}

nvmlReturn nvmlDeviceGetClockInfo(nvmlDevice device, unsigned type, unsigned* mhz) {
  TW_NVML_CARD(model, device, card);
  if (type < kClockTypes && type != kMemoryClock && model->usage(card).sm_percent == 0)
    return give(mhz, kIdleClockMhz);
  return max_clock(device, type, mhz);
}
nvmlReturn nvmlDeviceGetMaxClockInfo(nvmlDevice device, unsigned type, unsigned* mhz) {
  return max_clock(device, type, mhz);
}

nvmlReturn nvmlDeviceGetPerformanceState(nvmlDevice device, unsigned* state) {
  TW_NVML_CARD(model, device, card);
  return give(state, model->usage(card).sm_percent > 0 ? kHighestPerformanceState : kIdlePerformanceState);
}

nvmlReturn nvmlDeviceGetEncoderUtilization(nvmlDevice device, unsigned* percent, unsigned* period_us) {
  TW_NVML_CARD(model, device, card);
  const nvmlReturn result = give(percent, 0u);
  return result != NVML_SUCCESS ? result : give(period_us, static_cast<unsigned>(kSamplePeriodNs / 1000));
}
nvmlReturn nvmlDeviceGetDecoderUtilization(nvmlDevice device, unsigned* percent, unsigned* period_us) {
  return nvmlDeviceGetEncoderUtilization(device, percent, period_us);
}

nvmlReturn nvmlDeviceGetPcieThroughput(nvmlDevice device, unsigned, unsigned* kib) {
  return constant(device, kib, 0);
}
nvmlReturn nvmlDeviceGetCurrPcieLinkWidth(nvmlDevice device, unsigned* lanes) {
  return constant(device, lanes, kPcieLanes);
}
nvmlReturn nvmlDeviceGetMaxPcieLinkWidth(nvmlDevice device, unsigned* lanes) {
  return constant(device, lanes, kPcieLanes);
}
nvmlReturn nvmlDeviceGetMaxPcieLinkGeneration(nvmlDevice device, unsigned* generation) {
  TW_NVML_CARD(model, device, card);
  return give(generation, model->info(card).pcie_generation);
}
nvmlReturn nvmlDeviceGetCurrPcieLinkGeneration(nvmlDevice device, unsigned* generation) {
  return nvmlDeviceGetMaxPcieLinkGeneration(device, generation);
}

nvmlReturn nvmlDeviceGetPersistenceMode(nvmlDevice device, unsigned* mode) {
  return constant(device, mode, 1);
}
nvmlReturn nvmlDeviceGetDisplayActive(nvmlDevice device, unsigned* active) {
  return constant(device, active, 0);
}
nvmlReturn nvmlDeviceGetDisplayMode(nvmlDevice device, unsigned* active) {
  return constant(device, active, 0);
}
nvmlReturn nvmlDeviceGetComputeMode(nvmlDevice device, unsigned* mode) {
  return constant(device, mode, 0);
}
nvmlReturn nvmlDeviceGetMinorNumber(nvmlDevice device, unsigned* minor) {
  return nvmlDeviceGetIndex(device, minor);
}

nvmlReturn nvmlDeviceGetCudaComputeCapability(nvmlDevice device, int* major, int* minor) {
  TW_NVML_CARD(model, device, card);
  const nvmlReturn result = give(major, static_cast<int>(model->info(card).compute_major));
  return result != NVML_SUCCESS ? result : give(minor, static_cast<int>(model->info(card).compute_minor));
}

nvmlReturn nvmlDeviceGetNumGpuCores(nvmlDevice device, unsigned* cores) {
  constexpr unsigned kCoresPerSm = 128;
  TW_NVML_CARD(model, device, card);
  return give(cores, model->info(card).sm_count * kCoresPerSm);
}

nvmlReturn nvmlDeviceGetMemoryBusWidth(nvmlDevice device, unsigned* bits) {
  TW_NVML_CARD(model, device, card);
  return give(bits, model->info(card).memory_bus_bits);
}

nvmlReturn nvmlDeviceGetNumaNodeId(nvmlDevice device, unsigned* node) {
  TW_NVML_CARD(model, device, card);
  if (model->info(card).numa_node < 0) return NVML_ERROR_NOT_SUPPORTED;
  return give(node, static_cast<unsigned>(model->info(card).numa_node));
}

nvmlReturn nvmlDeviceGetEccMode(nvmlDevice device, unsigned* current, unsigned* pending) {
  TW_NVML_CARD(model, device, card);
  const nvmlReturn result = give(current, 0u);
  return result != NVML_SUCCESS ? result : give(pending, 0u);
}

nvmlReturn nvmlDeviceGetFanSpeed(nvmlDevice device, unsigned*) {
  return not_supported(device);
}
nvmlReturn nvmlDeviceGetTotalEccErrors(nvmlDevice device, int, int, unsigned long long*) {
  return not_supported(device);
}
nvmlReturn nvmlDeviceGetMigMode(nvmlDevice device, unsigned*, unsigned*) {
  return not_supported(device);
}
nvmlReturn nvmlDeviceGetMaxMigDeviceCount(nvmlDevice device, unsigned* count) {
  return constant(device, count, 0);
}

// Driver models exist on another operating system only.
nvmlReturn nvmlDeviceGetDriverModel(nvmlDevice device, unsigned*, unsigned*) {
  return not_supported(device);
}
nvmlReturn nvmlDeviceGetDriverModel_v2(nvmlDevice device, unsigned*, unsigned*) {
  return not_supported(device);
}

nvmlReturn nvmlDeviceIsMigDeviceHandle(nvmlDevice device, unsigned* is_mig) {
  return constant(device, is_mig, 0);
}

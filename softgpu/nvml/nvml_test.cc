#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "softgpu/cuda/api.h"
#include "softgpu/cuda/testing.h"
#include "softgpu/nvml/api.h"

namespace {

using ::testing::MatchesRegex;
using tweendeck::softgpu::testing::Cards;

constexpr uint64_t kMs = 1'000'000;

class Nvml : public ::testing::Test {
 protected:
  void SetUp() override {
    OK(NVML(nvmlInit_v2)());
    OK(NVML(nvmlDeviceGetHandleByIndex_v2)(0, &device));
  }
  void TearDown() override { OK(NVML(nvmlShutdown)()); }
  nvmlDevice device = nullptr;
};

TEST(NvmlBeforeInit, EverythingIsRefused) {
  unsigned count = 0;
  EXPECT_EQ(NVML(nvmlDeviceGetCount_v2)(&count), NVML_ERROR_UNINITIALIZED);
  EXPECT_EQ(NVML(nvmlShutdown)(), NVML_ERROR_UNINITIALIZED);
}

TEST_F(Nvml, DescribesTheCards) {
  unsigned count = 0;
  OK(NVML(nvmlDeviceGetCount_v2)(&count));
  EXPECT_EQ(count, 3u);
  char text[96];
  OK(NVML(nvmlDeviceGetName)(device, text, sizeof text));
  EXPECT_STREQ(text, "Tweendeck Soft H100-80G (simulated)");
  EXPECT_EQ(NVML(nvmlDeviceGetName)(device, text, 8), NVML_ERROR_INSUFFICIENT_SIZE);
  OK(NVML(nvmlDeviceGetUUID)(device, text, sizeof text));
  EXPECT_THAT(text, MatchesRegex("GPU-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"));
  nvmlDevice again = nullptr;
  OK(NVML(nvmlDeviceGetHandleByUUID)(text, &again));
  EXPECT_EQ(again, device);
  nvmlPciInfo pci{};
  OK(NVML(nvmlDeviceGetPciInfo_v3)(device, &pci));
  EXPECT_STREQ(pci.bus_id, "00000000:01:00.0");
  OK(NVML(nvmlDeviceGetHandleByPciBusId_v2)("0000:01:00.0", &again));
  EXPECT_EQ(again, device);
  EXPECT_EQ(NVML(nvmlDeviceGetHandleByPciBusId_v2)("0000:77:00.0", &again), NVML_ERROR_NOT_FOUND);
  EXPECT_EQ(NVML(nvmlDeviceGetHandleByIndex_v2)(3, &again), NVML_ERROR_INVALID_ARGUMENT);
  EXPECT_EQ(NVML(nvmlDeviceGetName)(reinterpret_cast<nvmlDevice>(0x1234), text, sizeof text),
            NVML_ERROR_INVALID_ARGUMENT);
}

TEST_F(Nvml, StructVersionsAreChecked) {
  nvmlMemory_v2 memory{};
  EXPECT_EQ(NVML(nvmlDeviceGetMemoryInfo_v2)(device, &memory), NVML_ERROR_ARGUMENT_VERSION_MISMATCH);
  memory.version = kMemoryVersion2;
  OK(NVML(nvmlDeviceGetMemoryInfo_v2)(device, &memory));
  EXPECT_EQ(memory.total, 81559ull << 20);
  EXPECT_EQ(memory.used + memory.free, memory.total);
}

TEST_F(Nvml, ShowsThisProcessItsMemoryAndItsShare) {
  unsigned count = 0;
  EXPECT_EQ(NVML(nvmlDeviceGetComputeRunningProcesses_v3)(device, &count, nullptr), NVML_SUCCESS);
  EXPECT_EQ(count, 0u);
  CUcontext context = nullptr;
  CUmodule module = nullptr;
  CUfunction spin = nullptr;
  CUdeviceptr pointer = 0;
  OK(CALL(cuInit)(0));
  OK(CALL(cuDevicePrimaryCtxRetain)(&context, 0));
  OK(CALL(cuCtxSetCurrent)(context));
  OK(CALL(cuMemAlloc_v2)(&pointer, 1 << 30));
  EXPECT_EQ(NVML(nvmlDeviceGetComputeRunningProcesses_v3)(device, &count, nullptr),
            NVML_ERROR_INSUFFICIENT_SIZE);
  ASSERT_EQ(count, 1u);
  nvmlProcessInfo process{};
  OK(NVML(nvmlDeviceGetComputeRunningProcesses_v3)(device, &count, &process));
  EXPECT_EQ(process.pid, static_cast<unsigned>(getpid()));
  EXPECT_EQ(process.used_memory, (1ull << 30) + (256ull << 20));

  OK(CALL(cuModuleLoadData)(&module, "x"));
  OK(CALL(cuModuleGetFunction)(&spin, module, "tw_spin"));
  uint64_t duration = 1000 * kMs;
  void* parameters[] = {&duration};
  OK(CALL(cuLaunchKernel)(spin, 1, 1, 1, 1, 1, 1, 0, nullptr, parameters, nullptr));
  OK(CALL(cuCtxSynchronize)());
  nvmlUtilization utilization{};
  OK(NVML(nvmlDeviceGetUtilizationRates)(device, &utilization));
  EXPECT_EQ(utilization.gpu, 100u);
  nvmlProcessUtilizationSample sample{};
  count = 0;
  EXPECT_EQ(NVML(nvmlDeviceGetProcessUtilization)(device, &sample, &count, 0), NVML_ERROR_INSUFFICIENT_SIZE);
  ASSERT_EQ(count, 1u);
  OK(NVML(nvmlDeviceGetProcessUtilization)(device, &sample, &count, 0));
  EXPECT_EQ(sample.sm, 100u);
  EXPECT_EQ(sample.pid, static_cast<unsigned>(getpid()));
  EXPECT_EQ(NVML(nvmlDeviceGetProcessUtilization)(device, &sample, &count, sample.time_us),
            NVML_ERROR_NOT_FOUND);
  OK(CALL(cuMemFree_v2)(pointer));
  OK(CALL(cuModuleUnload)(module));
  OK(CALL(cuDevicePrimaryCtxRelease_v2)(0));
  OK(NVML(nvmlDeviceGetComputeRunningProcesses_v3)(device, &count, nullptr));
  EXPECT_EQ(count, 0u);
}

TEST_F(Nvml, WhatACardDoesNotHaveIsNotSupported) {
  unsigned value = 0;
  EXPECT_EQ(NVML(nvmlDeviceGetFanSpeed)(device, &value), NVML_ERROR_NOT_SUPPORTED);
  EXPECT_EQ(NVML(nvmlDeviceGetMigMode)(device, &value, &value), NVML_ERROR_NOT_SUPPORTED);
}

}  // namespace

// Green contexts, as a client sees them.
#include <gtest/gtest.h>

#include "softgpu/cuda/api.h"
#include "softgpu/cuda/testing.h"

namespace {

using tweendeck::softgpu::testing::Cards;

using Green = tweendeck::softgpu::testing::DriverTest;

TEST_F(Green, PartsOfACardAreMultiplesOfEightSms) {
  CUdevResource all{};
  OK(CALL(cuDeviceGetDevResource)(0, &all, kResourceSm));
  EXPECT_EQ(all.sm.sm_count, 132u);
  EXPECT_EQ(all.sm.min_partition, 8u);
  unsigned groups = 0;
  OK(CALL(cuDevSmResourceSplitByCount)(nullptr, &groups, &all, nullptr, 0, 30));
  EXPECT_EQ(groups, 4u);
  CUdevResource parts[2] = {};
  CUdevResource rest{};
  groups = 2;
  OK(CALL(cuDevSmResourceSplitByCount)(parts, &groups, &all, &rest, 0, 30));
  EXPECT_EQ(parts[1].sm.sm_count, 32u);
  EXPECT_EQ(rest.sm.sm_count, 68u);
  EXPECT_EQ(CALL(cuDevSmResourceSplitByCount)(parts, &groups, &all, &rest, 0, 133),
            CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION);
  EXPECT_EQ(CALL(cuDeviceGetDevResource)(0, &all, 1000), CUDA_ERROR_INVALID_RESOURCE_TYPE);
}

TEST_F(Green, KernelsTakeTheWavesThatTheirPartNeeds) {
  CUdevResource all{};
  CUdevResource part{};
  CUdevResourceDesc description = nullptr;
  CUgreenCtx green = nullptr;
  CUstream stream = nullptr;
  unsigned groups = 1;
  const size_t before = free_bytes();
  OK(CALL(cuDeviceGetDevResource)(0, &all, kResourceSm));
  OK(CALL(cuDevSmResourceSplitByCount)(&part, &groups, &all, nullptr, 0, 8));
  OK(CALL(cuDevResourceGenerateDesc)(&description, &part, 1));
  EXPECT_EQ(CALL(cuGreenCtxCreate)(&green, description, 0, 0), CUDA_ERROR_INVALID_VALUE);
  OK(CALL(cuGreenCtxCreate)(&green, description, 0, kGreenDefaultStream));
  EXPECT_EQ(free_bytes(), before);
  OK(CALL(cuGreenCtxStreamCreate)(&stream, green, kStreamNonBlocking, 0));
  CUgreenCtx of_stream = nullptr;
  OK(CALL(cuStreamGetGreenCtx)(stream, &of_stream));
  EXPECT_EQ(of_stream, green);
  CUcontext as_context = nullptr;
  OK(CALL(cuCtxFromGreenCtx)(&as_context, green));
  CUdevResource own{};
  OK(CALL(cuCtxGetDevResource)(as_context, &own, kResourceSm));
  EXPECT_EQ(own.sm.sm_count, 8u);
  CUfunction kernel = nullptr;
  OK(CALL(cuModuleGetFunction)(&kernel, module, "matmul"));
  const uint64_t start = now();
  // 128 blocks of 256 threads are two waves on 8 SMs and one on the card.
  OK(CALL(cuLaunchKernel)(kernel, 128, 1, 1, 256, 1, 1, 0, stream, nullptr, nullptr));
  OK(CALL(cuStreamSynchronize)(stream));
  EXPECT_EQ(now() - start, 2'000u + 2 * (10'000u * 1000 / 1980));
  EXPECT_EQ(CALL(cuLaunchCooperativeKernel)(kernel, 65, 1, 1, 256, 1, 1, 0, stream, nullptr),
            CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE);
  OK(CALL(cuStreamDestroy_v2)(stream));
  OK(CALL(cuGreenCtxDestroy)(green));
  EXPECT_EQ(CALL(cuGreenCtxDestroy)(green), CUDA_ERROR_INVALID_CONTEXT);
}

}  // namespace

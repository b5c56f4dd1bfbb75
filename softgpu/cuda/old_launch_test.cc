// Launches of before CUDA 4, and cooperative ones on several cards.
#include <gtest/gtest.h>

#include "softgpu/cuda/api.h"
#include "softgpu/cuda/testing.h"

namespace {

using tweendeck::softgpu::testing::Cards;
using tweendeck::softgpu::testing::kMs;
using OldLaunch = tweendeck::softgpu::testing::DriverTest;

TEST_F(OldLaunch, TakesShapeAndArgumentsFromTheFunction) {
  uint64_t duration_ns = 3 * kMs;
  EXPECT_EQ(CALL(cuLaunch)(spin), CUDA_ERROR_INVALID_VALUE) << "no shape yet";
  OK(CALL(cuFuncSetBlockShape)(spin, 32, 2, 1));
  EXPECT_EQ(CALL(cuLaunch)(spin), CUDA_ERROR_INVALID_VALUE) << "no argument yet";
  OK(CALL(cuParamSetv)(spin, 0, &duration_ns, sizeof duration_ns));
  OK(CALL(cuParamSetSize)(spin, sizeof duration_ns));
  const uint64_t start = now();
  OK(CALL(cuLaunch)(spin));
  OK(CALL(cuLaunchGrid)(spin, 4, 4));
  OK(CALL(cuLaunchGridAsync)(spin, 2, 1, nullptr));
  OK(CALL(cuCtxSynchronize)());
  EXPECT_GE(now() - start, 9 * kMs);
  EXPECT_LT(now() - start, 10 * kMs);
  EXPECT_EQ(CALL(cuLaunchGrid)(spin, 0, 1), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(CALL(cuParamSeti)(spin, 4096, 1), CUDA_ERROR_INVALID_VALUE);
  OK(CALL(cuParamSeti)(spin, 0, static_cast<unsigned>(kMs)));
  OK(CALL(cuLaunch)(spin));
  OK(CALL(cuCtxSynchronize)());
  EXPECT_LT(now() - start, 11 * kMs) << "the lower word of the argument is another";
}

TEST_F(OldLaunch, SeveralCardsTakeOneLaunchEach) {
  CUcontext second = nullptr;
  OK(CALL(cuDevicePrimaryCtxRetain)(&second, 1));
  CUstream streams[2];
  OK(CALL(cuStreamCreate)(&streams[0], 1));
  OK(CALL(cuCtxSetCurrent)(second));
  OK(CALL(cuStreamCreate)(&streams[1], 1));
  OK(CALL(cuCtxSetCurrent)(context));
  uint64_t duration_ns = 5 * kMs;
  void* parameters[] = {&duration_ns};
  CUDA_LAUNCH_PARAMS launches[2] = {{spin, 1, 1, 1, 1, 1, 1, 0, streams[0], parameters},
                                    {spin, 1, 1, 1, 1, 1, 1, 0, streams[1], parameters}};
  const uint64_t start = now();
  OK(CALL(cuLaunchCooperativeKernelMultiDevice)(launches, 2, 0));
  OK(CALL(cuStreamSynchronize)(streams[0]));
  OK(CALL(cuStreamSynchronize)(streams[1]));
  EXPECT_GE(now() - start, 5 * kMs);
  EXPECT_LT(now() - start, 6 * kMs) << "both at once";
  launches[1].stream = streams[0];
  EXPECT_EQ(CALL(cuLaunchCooperativeKernelMultiDevice)(launches, 2, 0), CUDA_ERROR_INVALID_DEVICE);
  launches[1].stream = nullptr;
  EXPECT_EQ(CALL(cuLaunchCooperativeKernelMultiDevice)(launches, 2, 0), CUDA_ERROR_INVALID_VALUE);
  for (const CUstream stream : streams) OK(CALL(cuStreamDestroy_v2)(stream));
  OK(CALL(cuDevicePrimaryCtxRelease_v2)(1));
}

}  // namespace

// Streams on an overlapping card: what runs at once, and what must not.
#include <gtest/gtest.h>

#include <functional>

#include "softgpu/cuda/testing.h"

namespace tweendeck::softgpu::testing {
namespace {

constexpr int kOverlappingDevice = 2;

class Overlap : public DriverTest {
 protected:
  void SetUp() override {
    DriverTest::SetUp();
    OK(CALL(cuDevicePrimaryCtxRetain)(&overlapping, kOverlappingDevice));
    OK(CALL(cuCtxSetCurrent)(overlapping));
    for (CUstream& stream : blocking) OK(CALL(cuStreamCreate)(&stream, 0));
    for (CUstream& stream : free) OK(CALL(cuStreamCreate)(&stream, kStreamNonBlocking));
    OK(CALL(cuModuleLoadData)(&own, "any image"));
    OK(CALL(cuModuleGetFunction)(&kernel, own, "tw_spin"));
    start = now();
  }
  void TearDown() override {
    OK(CALL(cuDevicePrimaryCtxRelease_v2)(kOverlappingDevice));
    OK(CALL(cuCtxSetCurrent)(context));
    DriverTest::TearDown();
  }
  void spin_on(CUstream stream, uint64_t ms, unsigned blocks = 1) {
    uint64_t duration_ns = ms * kMs;
    void* parameters[] = {&duration_ns};
    OK(CALL(cuLaunchKernel)(kernel, blocks, 1, 1, 1024, 1, 1, 0, stream, parameters, nullptr));
  }
  uint64_t ms_until(CUstream stream) {
    EXPECT_EQ(CALL(cuStreamSynchronize)(stream), CUDA_SUCCESS);
    return (now() - start) / kMs;
  }

  CUcontext overlapping = nullptr;
  CUmodule own = nullptr;
  CUfunction kernel = nullptr;
  CUstream blocking[2] = {};
  CUstream free[2] = {};
  uint64_t start = 0;
};

TEST_F(Overlap, SmallKernelsOfDifferentStreamsRunAtOnce) {
  spin_on(free[0], 10);
  spin_on(free[1], 4);
  spin_on(free[1], 3);
  EXPECT_EQ(ms_until(free[1]), 7u);
  EXPECT_EQ(ms_until(free[0]), 10u);
}

TEST_F(Overlap, KernelsThatFillTheCardDoNot) {
  spin_on(free[0], 10, 16);  // an A10's SM holds one block of 1024 threads
  spin_on(free[1], 4, 16);
  EXPECT_EQ(ms_until(free[1]), 14u);
}

TEST_F(Overlap, TheLegacyStreamWaitsForBlockingStreamsAndTheyForIt) {
  spin_on(blocking[0], 10);
  spin_on(blocking[1], 6);
  spin_on(free[0], 30);
  spin_on(nullptr, 2);
  spin_on(blocking[1], 1);
  spin_on(free[1], 1);
  EXPECT_EQ(ms_until(free[1]), 1u);
  EXPECT_EQ(ms_until(nullptr), 13u);  // 10, its own 2, and the blocking stream's 1
  EXPECT_EQ(ms_until(blocking[1]), 13u);
  OK(CALL(cuCtxSynchronize)());
  EXPECT_EQ((now() - start) / kMs, 30u);
}

TEST_F(Overlap, EventsOrderStreams) {
  CUevent event = nullptr;
  OK(CALL(cuEventCreate)(&event, 0));
  spin_on(free[0], 10);
  OK(CALL(cuEventRecord)(event, free[0]));
  spin_on(free[0], 10);
  OK(CALL(cuStreamWaitEvent)(free[1], event, 0));
  spin_on(free[1], 3);
  EXPECT_EQ(CALL(cuEventQuery)(event), CUDA_ERROR_NOT_READY);
  EXPECT_EQ(ms_until(free[1]), 13u);
  EXPECT_EQ(CALL(cuEventQuery)(event), CUDA_SUCCESS);
  OK(CALL(cuEventDestroy_v2)(event));
}

TEST_F(Overlap, AnEventOfTheLegacyStreamCoversBlockingStreams) {
  CUevent event = nullptr;
  OK(CALL(cuEventCreate)(&event, 0));
  spin_on(blocking[0], 10);
  spin_on(blocking[1], 5);
  OK(CALL(cuEventRecord)(event, nullptr));
  OK(CALL(cuEventSynchronize)(event));
  EXPECT_EQ((now() - start) / kMs, 10u);
  OK(CALL(cuEventDestroy_v2)(event));
}

TEST_F(Overlap, ADestroyedStreamsWorkIsStillWaitedFor) {
  spin_on(free[0], 10);
  spin_on(free[1], 2);
  OK(CALL(cuStreamDestroy_v2)(free[0]));
  OK(CALL(cuCtxSynchronize)());
  EXPECT_EQ((now() - start) / kMs, 10u);
}

}  // namespace
}  // namespace tweendeck::softgpu::testing

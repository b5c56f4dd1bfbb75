// Streams on a card that overlaps kernels, as a client sees them.
#include <gtest/gtest.h>

#include "softgpu/cuda/api.h"
#include "softgpu/cuda/testing.h"

namespace {

using tweendeck::softgpu::testing::Cards;
using tweendeck::softgpu::testing::kMs;

constexpr CUdevice kOverlapping = 2;  // of the test's cards: an A10 with 72 SMs

class Overlap : public tweendeck::softgpu::testing::DriverTest {
 protected:
  void SetUp() override {
    DriverTest::SetUp();
    OK(CALL(cuDevicePrimaryCtxRetain)(&overlapping, kOverlapping));
    OK(CALL(cuCtxPushCurrent_v2)(overlapping));
    for (CUstream& stream : streams) OK(CALL(cuStreamCreate)(&stream, kStreamNonBlocking));
    start = now();
  }
  void TearDown() override {
    for (CUstream stream : streams) OK(CALL(cuStreamDestroy_v2)(stream));
    OK(CALL(cuCtxPopCurrent_v2)(nullptr));
    OK(CALL(cuDevicePrimaryCtxRelease_v2)(kOverlapping));
    DriverTest::TearDown();
  }
  // A kernel of so many blocks, each of which fills an SM.
  void launch(unsigned blocks, uint64_t duration_ns, CUstream stream) {
    void* parameters[] = {&duration_ns};
    EXPECT_EQ(CALL(cuLaunchKernel)(spin, blocks, 1, 1, 1024, 1, 1, 0, stream, parameters, nullptr),
              CUDA_SUCCESS);
  }
  uint64_t passed() {
    EXPECT_EQ(CALL(cuCtxSynchronize)(), CUDA_SUCCESS);
    return now() - start;
  }

  CUcontext overlapping = nullptr;
  CUstream streams[2] = {};
  uint64_t start = 0;
};

TEST_F(Overlap, KernelsOfDifferentStreamsRunAtOnceWhileSmsAreFree) {
  launch(36, 5 * kMs, streams[0]);
  launch(36, 5 * kMs, streams[1]);
  EXPECT_EQ(passed(), 5 * kMs);
  launch(36, 5 * kMs, streams[0]);
  launch(37, 5 * kMs, streams[1]);
  EXPECT_EQ(passed(), 15 * kMs);
  launch(1, 5 * kMs, streams[0]);
  launch(1, 5 * kMs, streams[0]);
  EXPECT_EQ(passed(), 25 * kMs);
}

TEST_F(Overlap, EventsOrderStreams) {
  CUevent event = nullptr;
  OK(CALL(cuEventCreate)(&event, 0));
  launch(1, 5 * kMs, streams[0]);
  OK(CALL(cuEventRecord)(event, streams[0]));
  OK(CALL(cuStreamWaitEvent)(streams[1], event, 0));
  launch(1, 5 * kMs, streams[1]);
  EXPECT_EQ(CALL(cuStreamQuery)(streams[1]), CUDA_ERROR_NOT_READY);
  OK(CALL(cuStreamSynchronize)(streams[1]));
  EXPECT_EQ(now() - start, 10 * kMs);
  OK(CALL(cuEventDestroy_v2)(event));
}

TEST_F(Overlap, TheLegacyStreamIsBehindBlockingStreamsAndTheyBehindIt) {
  CUstream blocking = nullptr;
  OK(CALL(cuStreamCreate)(&blocking, 0));
  launch(1, 3 * kMs, blocking);
  launch(1, 9 * kMs, streams[0]);
  launch(1, 3 * kMs, nullptr);
  launch(1, 3 * kMs, blocking);
  OK(CALL(cuStreamSynchronize)(blocking));
  EXPECT_EQ(now() - start, 9 * kMs);
  launch(1, 4 * kMs, blocking);
  OK(CALL(cuStreamSynchronize)(nullptr));
  EXPECT_EQ(now() - start, 13 * kMs);
  OK(CALL(cuStreamDestroy_v2)(blocking));
}

TEST_F(Overlap, AGraphIsOneUnitOfItsLargestKernel) {
  CUgraph graph = nullptr;
  CUgraphExec exec = nullptr;
  OK(CALL(cuStreamBeginCapture_v2)(streams[0], kCaptureGlobal));
  launch(36, 2 * kMs, streams[0]);
  launch(1, 2 * kMs, streams[0]);
  OK(CALL(cuStreamEndCapture)(streams[0], &graph));
  OK(CALL(cuGraphInstantiateWithFlags)(&exec, graph, 0));
  OK(CALL(cuGraphLaunch)(exec, streams[0]));
  launch(36, 4 * kMs, streams[1]);
  EXPECT_EQ(passed(), 4 * kMs);
  OK(CALL(cuGraphExecDestroy)(exec));
  OK(CALL(cuGraphDestroy)(graph));
}

}  // namespace

// Graphs and stream capture, as a client sees them.
#include <gtest/gtest.h>

#include <atomic>
#include <thread>
#include <vector>

#include "softgpu/cuda/api.h"
#include "softgpu/cuda/testing.h"

namespace {

using tweendeck::softgpu::testing::Cards;
using tweendeck::softgpu::testing::kMs;

class Graph : public tweendeck::softgpu::testing::DriverTest {
 protected:
  void SetUp() override {
    DriverTest::SetUp();
    OK(CALL(cuGraphCreate)(&graph, 0));
    OK(CALL(cuStreamCreate)(&stream, kStreamNonBlocking));
    OK(CALL(cuMemAlloc_v2)(&memory, kBytes));
  }
  void TearDown() override {
    OK(CALL(cuMemFree_v2)(memory));
    OK(CALL(cuStreamDestroy_v2)(stream));
    if (graph != nullptr) OK(CALL(cuGraphDestroy)(graph));
    DriverTest::TearDown();
  }

  CUgraphNode add_spin(uint64_t duration_ns, std::vector<CUgraphNode> after = {}, CUgraph into = nullptr) {
    CUgraphNode node = nullptr;
    void* parameters[] = {&duration_ns};
    const CUDA_KERNEL_NODE_PARAMS kernel{{spin, 1, 1, 1, 1, 1, 1, 0, parameters, nullptr}, nullptr, nullptr};
    EXPECT_EQ(CALL(cuGraphAddKernelNode_v2)(&node, into == nullptr ? graph : into, after.data(), after.size(),
                                            &kernel),
              CUDA_SUCCESS);
    return node;
  }
  CUgraphExec instantiate(CUgraph from) {
    CUgraphExec exec = nullptr;
    EXPECT_EQ(CALL(cuGraphInstantiateWithFlags)(&exec, from, 0), CUDA_SUCCESS);
    return exec;
  }
  uint64_t time_of(CUgraphExec exec) {
    const uint64_t start = now();
    EXPECT_EQ(CALL(cuGraphLaunch)(exec, stream), CUDA_SUCCESS);
    EXPECT_EQ(now(), start);
    EXPECT_EQ(CALL(cuStreamSynchronize)(stream), CUDA_SUCCESS);
    return now() - start;
  }
  CUstreamCaptureStatus status(CUstream of) {
    CUstreamCaptureStatus status{};
    EXPECT_EQ(CALL(cuStreamIsCapturing)(of, &status), CUDA_SUCCESS);
    return status;
  }
  unsigned first_word() {
    unsigned word = 0;
    EXPECT_EQ(CALL(cuMemcpyDtoH_v2)(&word, memory, sizeof word), CUDA_SUCCESS);
    return word;
  }

  static constexpr size_t kBytes = 4096;
  CUgraph graph = nullptr;
  CUstream stream = nullptr;
  CUdeviceptr memory = 0;
};

TEST_F(Graph, OccupiesTheCardAsOneUnitOfItsKernels) {
  CUgraphNode first = add_spin(3 * kMs);
  CUgraphNode second = add_spin(4 * kMs, {first});
  add_spin(5 * kMs, {first, second});
  CUgraphExec exec = instantiate(graph);
  EXPECT_EQ(time_of(exec), 12 * kMs);
  EXPECT_EQ(time_of(exec), 12 * kMs);
  OK(CALL(cuGraphNodeSetEnabled)(exec, second, 0));
  EXPECT_EQ(time_of(exec), 8 * kMs);
  unsigned enabled = 1;
  OK(CALL(cuGraphNodeGetEnabled)(exec, second, &enabled));
  EXPECT_EQ(enabled, 0u);
  OK(CALL(cuGraphExecDestroy)(exec));
  EXPECT_EQ(CALL(cuGraphLaunch)(exec, stream), CUDA_ERROR_INVALID_VALUE);
}

TEST_F(Graph, NodesKeepTheArgumentsOfTheirMakingUntilChanged) {
  CUgraphNode node = add_spin(3 * kMs);
  CUgraphExec exec = instantiate(graph);
  CUDA_KERNEL_NODE_PARAMS kernel{};
  OK(CALL(cuGraphKernelNodeGetParams_v2)(node, &kernel));
  EXPECT_EQ(kernel.launch.function, spin);
  EXPECT_EQ(*static_cast<uint64_t*>(kernel.launch.parameters[0]), 3 * kMs);
  uint64_t longer = 7 * kMs;
  void* parameters[] = {&longer};
  kernel.launch.parameters = parameters;
  OK(CALL(cuGraphExecKernelNodeSetParams_v2)(exec, node, &kernel));
  EXPECT_EQ(time_of(exec), 7 * kMs);
  CUgraphExec old = instantiate(graph);
  EXPECT_EQ(time_of(old), 3 * kMs);
  OK(CALL(cuGraphExecDestroy)(old));
  OK(CALL(cuGraphKernelNodeSetParams_v2)(node, &kernel));
  CUgraphExecUpdateResultInfo info{};
  longer = 1;
  CUgraphExec updated = instantiate(graph);
  EXPECT_EQ(time_of(updated), 7 * kMs);
  OK(CALL(cuGraphExecUpdate_v2)(exec, graph, &info));
  EXPECT_EQ(info.result, kUpdateSuccess);
  add_spin(1, {node});
  EXPECT_EQ(CALL(cuGraphExecUpdate_v2)(exec, graph, &info), CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE);
  EXPECT_EQ(info.result, kUpdateTopologyChanged);
  OK(CALL(cuGraphExecDestroy)(exec));
  OK(CALL(cuGraphExecDestroy)(updated));
}

TEST_F(Graph, MovesBytesAndCallsTheHostInOrder) {
  unsigned source = 7;
  CUgraphNode nodes[4] = {};
  const CUDA_MEMSET_NODE_PARAMS fill{memory, 0, 0x01010101, 4, kBytes / 4, 1};
  OK(CALL(cuGraphAddMemsetNode)(&nodes[0], graph, nullptr, 0, &fill, context));
  const CUDA_HOST_NODE_PARAMS host{[](void* data) { *static_cast<unsigned*>(data) = 42; }, &source};
  OK(CALL(cuGraphAddHostNode)(&nodes[1], graph, &nodes[0], 1, &host));
  CUDA_MEMCPY3D copy{};
  copy.src_type = kMemoryHost;
  copy.src_host = &source;
  copy.dst_type = kMemoryDevice;
  copy.dst_device = memory;
  copy.width = sizeof source;
  copy.height = copy.depth = 1;
  OK(CALL(cuGraphAddMemcpyNode)(&nodes[2], graph, &nodes[1], 1, &copy, context));
  add_spin(2 * kMs, {nodes[2]});
  copy.dst_device = memory + kBytes;
  EXPECT_EQ(CALL(cuGraphAddMemcpyNode)(&nodes[3], graph, nullptr, 0, &copy, context),
            CUDA_ERROR_INVALID_VALUE);
  CUgraphExec exec = instantiate(graph);
  EXPECT_EQ(time_of(exec), 2 * kMs);
  EXPECT_EQ(first_word(), 42u);
  unsigned second = 0;
  OK(CALL(cuMemcpyDtoH_v2)(&second, memory + 4, sizeof second));
  EXPECT_EQ(second, 0x01010101u);
  OK(CALL(cuGraphExecDestroy)(exec));
}

TEST_F(Graph, KnowsItsNodesAndEdgesAndRefusesCycles) {
  CUgraphNode a = add_spin(1);
  CUgraphNode b = add_spin(2, {a});
  CUgraphNode c = nullptr;
  OK(CALL(cuGraphAddEmptyNode)(&c, graph, &b, 1));
  size_t count = 0;
  OK(CALL(cuGraphGetNodes)(graph, nullptr, &count));
  EXPECT_EQ(count, 3u);
  std::vector<CUgraphNode> from(2);
  std::vector<CUgraphNode> to(2);
  count = 2;
  OK(CALL(cuGraphGetEdges)(graph, from.data(), to.data(), &count));
  EXPECT_EQ(count, 2u);
  EXPECT_EQ(from, (std::vector<CUgraphNode>{a, b}));
  EXPECT_EQ(to, (std::vector<CUgraphNode>{b, c}));
  count = 2;
  OK(CALL(cuGraphGetRootNodes)(graph, from.data(), &count));
  EXPECT_EQ(count, 1u);
  EXPECT_EQ(from[0], a);
  EXPECT_EQ(from[1], nullptr);
  CUgraphNodeType type{};
  OK(CALL(cuGraphNodeGetType)(c, &type));
  EXPECT_EQ(type, kNodeEmpty);
  OK(CALL(cuGraphAddDependencies)(graph, &c, &a, 1));
  CUgraphExec exec = nullptr;
  EXPECT_EQ(CALL(cuGraphInstantiateWithFlags)(&exec, graph, 0), CUDA_ERROR_INVALID_VALUE);
  OK(CALL(cuGraphRemoveDependencies)(graph, &c, &a, 1));
  OK(CALL(cuGraphDestroyNode)(b));
  EXPECT_EQ(CALL(cuGraphNodeGetType)(b, &type), CUDA_ERROR_INVALID_VALUE);
  count = 1;
  OK(CALL(cuGraphNodeGetDependencies)(c, from.data(), &count));
  EXPECT_EQ(count, 0u);
}

TEST_F(Graph, ClonesAndChildrenAreCopies) {
  CUgraphNode a = add_spin(3 * kMs);
  CUgraph clone = nullptr;
  OK(CALL(cuGraphClone)(&clone, graph));
  CUgraphNode twin = nullptr;
  OK(CALL(cuGraphNodeFindInClone)(&twin, a, clone));
  EXPECT_NE(twin, a);
  CUgraphNode child = nullptr;
  OK(CALL(cuGraphAddChildGraphNode)(&child, graph, &a, 1, clone));
  OK(CALL(cuGraphDestroy)(clone));
  CUgraph inner = nullptr;
  OK(CALL(cuGraphChildGraphNodeGetGraph)(child, &inner));
  EXPECT_EQ(CALL(cuGraphDestroy)(inner), CUDA_ERROR_INVALID_VALUE);
  add_spin(2 * kMs, {}, inner);
  CUgraphExec exec = instantiate(graph);
  EXPECT_EQ(time_of(exec), 8 * kMs);
  OK(CALL(cuGraphExecDestroy)(exec));
}

TEST_F(Graph, CaptureTurnsWorkOfSeveralStreamsIntoNodes) {
  CUstream side = nullptr;
  CUevent fork = nullptr;
  CUevent join = nullptr;
  OK(CALL(cuStreamCreate)(&side, kStreamNonBlocking));
  OK(CALL(cuEventCreate)(&fork, 0));
  OK(CALL(cuEventCreate)(&join, 0));
  const uint64_t start = now();
  OK(CALL(cuMemsetD32_v2)(memory, 1, 1));
  OK(CALL(cuStreamBeginCapture_v2)(stream, kCaptureGlobal));
  EXPECT_EQ(CALL(cuStreamBeginCapture_v2)(stream, kCaptureGlobal), CUDA_ERROR_ILLEGAL_STATE);
  OK(launch_spin(3 * kMs, stream));
  OK(CALL(cuEventRecord)(fork, stream));
  OK(CALL(cuStreamWaitEvent)(side, fork, 0));
  EXPECT_EQ(status(side), kCaptureActive);
  OK(launch_spin(4 * kMs, side));
  OK(CALL(cuMemsetD32Async)(memory, 9, 1, stream));
  OK(CALL(cuEventRecord)(join, side));
  OK(CALL(cuStreamWaitEvent)(stream, join, 0));
  CUstreamCaptureStatus state{};
  uint64_t id = 0;
  CUgraph captured = nullptr;
  const CUgraphNode* tail = nullptr;
  size_t tails = 0;
  OK(CALL(cuStreamGetCaptureInfo_v2)(stream, &state, &id, &captured, &tail, &tails));
  EXPECT_EQ(state, kCaptureActive);
  EXPECT_EQ(tails, 2u);
  CUgraph out = nullptr;
  OK(CALL(cuStreamEndCapture)(stream, &out));
  EXPECT_EQ(out, captured);
  EXPECT_EQ(status(stream), kCaptureNone);
  EXPECT_EQ(status(side), kCaptureNone);
  EXPECT_EQ(now(), start);
  EXPECT_EQ(first_word(), 1u);
  CUgraphExec exec = instantiate(out);
  OK(CALL(cuGraphDestroy)(out));
  EXPECT_EQ(time_of(exec), 7 * kMs);
  EXPECT_EQ(first_word(), 9u);
  OK(CALL(cuGraphExecDestroy)(exec));
  EXPECT_EQ(CALL(cuEventQuery)(join), CUDA_ERROR_CAPTURED_EVENT);
  OK(CALL(cuEventRecord)(join, side));
  OK(CALL(cuEventQuery)(join));
  OK(CALL(cuEventDestroy_v2)(fork));
  OK(CALL(cuEventDestroy_v2)(join));
  OK(CALL(cuStreamDestroy_v2)(side));
}

TEST_F(Graph, CaptureRefusesWhatItCannotHold) {
  CUgraph out = nullptr;
  CUdeviceptr pointer = 0;
  CUstream side = nullptr;
  CUevent event = nullptr;
  OK(CALL(cuStreamCreate)(&side, 0));
  OK(CALL(cuEventCreate)(&event, 0));
  EXPECT_EQ(CALL(cuStreamBeginCapture_v2)(nullptr, kCaptureGlobal), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  // Waiting for the stream.
  OK(CALL(cuStreamBeginCapture_v2)(stream, kCaptureGlobal));
  EXPECT_EQ(CALL(cuStreamSynchronize)(stream), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  EXPECT_EQ(status(stream), kCaptureInvalidated);
  EXPECT_EQ(launch_spin(1, stream), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
  EXPECT_EQ(CALL(cuStreamEndCapture)(stream, &out), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
  EXPECT_EQ(out, nullptr);
  EXPECT_EQ(CALL(cuStreamEndCapture)(stream, &out), CUDA_ERROR_ILLEGAL_STATE);
  // An unsafe call, unless the mode allows it.
  OK(CALL(cuStreamBeginCapture_v2)(stream, kCaptureGlobal));
  CUstreamCaptureMode mode = kCaptureRelaxed;
  OK(CALL(cuThreadExchangeStreamCaptureMode)(&mode));
  OK(CALL(cuMemAlloc_v2)(&pointer, 64));
  OK(CALL(cuMemFree_v2)(pointer));
  OK(CALL(cuThreadExchangeStreamCaptureMode)(&mode));
  EXPECT_EQ(mode, kCaptureRelaxed);
  EXPECT_EQ(CALL(cuMemAlloc_v2)(&pointer, 64), CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED);
  EXPECT_EQ(CALL(cuStreamEndCapture)(stream, &out), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
  // Work outside that was not captured.
  OK(launch_spin(1, side));
  OK(CALL(cuEventRecord)(event, side));
  OK(CALL(cuStreamBeginCapture_v2)(stream, kCaptureThreadLocal));
  EXPECT_EQ(CALL(cuStreamWaitEvent)(stream, event, 0), CUDA_ERROR_STREAM_CAPTURE_ISOLATION);
  EXPECT_EQ(CALL(cuStreamEndCapture)(stream, &out), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
  // A stream that is not joined back.
  OK(CALL(cuStreamBeginCapture_v2)(stream, kCaptureRelaxed));
  OK(CALL(cuEventRecord)(event, stream));
  OK(CALL(cuStreamWaitEvent)(side, event, 0));
  OK(launch_spin(1, side));
  EXPECT_EQ(CALL(cuStreamEndCapture)(stream, &out), CUDA_ERROR_STREAM_CAPTURE_UNJOINED);
  // The legacy stream beside a blocking stream.
  OK(CALL(cuStreamBeginCapture_v2)(side, kCaptureGlobal));
  CUstreamCaptureStatus state{};
  EXPECT_EQ(CALL(cuStreamIsCapturing)(nullptr, &state), CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
  EXPECT_EQ(status(side), kCaptureActive);
  EXPECT_EQ(launch_spin(1), CUDA_ERROR_STREAM_CAPTURE_IMPLICIT);
  EXPECT_EQ(status(side), kCaptureInvalidated);
  // Only the thread that began it ends it.
  EXPECT_EQ(CALL(cuStreamEndCapture)(side, &out), CUDA_ERROR_STREAM_CAPTURE_INVALIDATED);
  OK(CALL(cuStreamBeginCapture_v2)(side, kCaptureGlobal));
  std::thread([&] {
    EXPECT_EQ(CALL(cuStreamEndCapture)(side, &out), CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD);
  }).join();
  OK(CALL(cuStreamEndCapture)(side, &out));
  OK(CALL(cuGraphDestroy)(out));
  OK(CALL(cuEventDestroy_v2)(event));
  OK(CALL(cuStreamDestroy_v2)(side));
}

TEST_F(Graph, ALaunchInACaptureIsAChildGraph) {
  add_spin(3 * kMs);
  CUgraphExec inner = instantiate(graph);
  CUgraph out = nullptr;
  OK(CALL(cuStreamBeginCapture_v2)(stream, kCaptureGlobal));
  OK(CALL(cuGraphLaunch)(inner, stream));
  OK(launch_spin(1 * kMs, stream));
  OK(CALL(cuStreamEndCapture)(stream, &out));
  CUgraphExec exec = instantiate(out);
  EXPECT_EQ(time_of(exec), 4 * kMs);
  OK(CALL(cuGraphExecDestroy)(exec));
  OK(CALL(cuGraphExecDestroy)(inner));
  OK(CALL(cuGraphDestroy)(out));
}

TEST_F(Graph, HostFunctionsRunWhenTheWorkBeforeThemHasEnded) {
  std::atomic<uint64_t> called_at{0};
  OK(launch_spin(6 * kMs, stream));
  const uint64_t start = now();
  OK(CALL(cuLaunchHostFunc)(
      stream, [](void* data) { static_cast<std::atomic<uint64_t>*>(data)->store(now()); }, &called_at));
  EXPECT_EQ(CALL(cuStreamQuery)(stream), CUDA_ERROR_NOT_READY);
  OK(CALL(cuStreamSynchronize)(stream));
  EXPECT_EQ(called_at.load(), start + 6 * kMs);
  OK(launch_spin(1 * kMs, stream));
  called_at = 0;
  OK(CALL(cuStreamAddCallback)(
      stream,
      [](CUstream, CUresult status, void* data) {
        if (status == CUDA_SUCCESS) static_cast<std::atomic<uint64_t>*>(data)->store(1);
      },
      &called_at, 0));
  CUevent event = nullptr;
  OK(CALL(cuEventCreate)(&event, 0));
  OK(CALL(cuEventRecord)(event, stream));
  OK(CALL(cuEventSynchronize)(event));
  EXPECT_EQ(called_at.load(), 1u);
  OK(CALL(cuEventDestroy_v2)(event));
}

TEST_F(Graph, UserObjectsLiveAsLongAsAGraphHoldsThem) {
  int destroyed = 0;
  CUuserObject object = nullptr;
  OK(CALL(cuUserObjectCreate)(&object, &destroyed, [](void* data) { ++*static_cast<int*>(data); }, 1, 1));
  OK(CALL(cuGraphRetainUserObject)(graph, object, 1, 1));
  CUgraph clone = nullptr;
  OK(CALL(cuGraphClone)(&clone, graph));
  OK(CALL(cuGraphDestroy)(graph));
  graph = nullptr;
  EXPECT_EQ(destroyed, 0);
  OK(CALL(cuGraphDestroy)(clone));
  EXPECT_EQ(destroyed, 1);
}

TEST_F(Graph, CooperativeAndClusterLaunchesKeepTheirRules) {
  CUfunction kernel = nullptr;
  OK(CALL(cuModuleGetFunction)(&kernel, module, "matmul"));
  // 132 SMs hold 8 blocks of 256 threads each.
  OK(CALL(cuLaunchCooperativeKernel)(kernel, 1056, 1, 1, 256, 1, 1, 0, stream, nullptr));
  EXPECT_EQ(CALL(cuLaunchCooperativeKernel)(kernel, 1057, 1, 1, 256, 1, 1, 0, stream, nullptr),
            CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE);
  CUlaunchAttribute cluster{};
  cluster.id = 4;
  cluster.value[0] = 4;
  cluster.value[4] = cluster.value[8] = 1;
  CUlaunchConfig config{8, 1, 1, 32, 1, 1, 0, stream, &cluster, 1};
  OK(CALL(cuLaunchKernelEx)(&config, kernel, nullptr, nullptr));
  config.grid_x = 9;
  EXPECT_EQ(CALL(cuLaunchKernelEx)(&config, kernel, nullptr, nullptr), CUDA_ERROR_INVALID_CLUSTER_SIZE);
  OK(CALL(cuStreamSynchronize)(stream));
}

}  // namespace

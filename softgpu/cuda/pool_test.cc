// Memory pools, stream-ordered allocation, memory nodes of graphs and managed memory, as a client sees them.
#include <gtest/gtest.h>

#include <cstring>
#include <vector>

#include "softgpu/cuda/api.h"
#include "softgpu/cuda/testing.h"

namespace {

using tweendeck::softgpu::testing::Cards;
using tweendeck::softgpu::testing::kMs;

constexpr size_t kMiB = 1 << 20;

class Pool : public tweendeck::softgpu::testing::DriverTest {
 protected:
  void SetUp() override {
    DriverTest::SetUp();
    OK(CALL(cuStreamCreate)(&stream, kStreamNonBlocking));
    before = free_bytes();
  }
  void TearDown() override {
    EXPECT_EQ(free_bytes(), before);
    OK(CALL(cuStreamDestroy_v2)(stream));
    DriverTest::TearDown();
  }
  size_t taken() { return before - free_bytes(); }
  uint64_t attribute(CUmemoryPool pool, int id) {
    uint64_t value = 0;
    EXPECT_EQ(CALL(cuMemPoolGetAttribute)(pool, id, &value), CUDA_SUCCESS);
    return value;
  }
  static uint64_t graph_attribute(int id) {
    uint64_t value = 0;
    EXPECT_EQ(CALL(cuDeviceGetGraphMemAttribute)(0, id, &value), CUDA_SUCCESS);
    return value;
  }
  CUmemoryPool create(size_t max_bytes = 0) {
    CUmemPoolProps props{};
    props.allocation_type = kAllocationPinned;
    props.location = {kLocationDevice, 0};
    props.max_bytes = max_bytes;
    CUmemoryPool pool = nullptr;
    EXPECT_EQ(CALL(cuMemPoolCreate)(&pool, &props), CUDA_SUCCESS);
    return pool;
  }

  CUstream stream = nullptr;
  size_t before = 0;
};

TEST_F(Pool, TheDefaultPoolGivesMemoryBackAtOnce) {
  CUdeviceptr a = 0;
  CUdeviceptr b = 0;
  OK(CALL(cuMemAllocAsync)(&a, kMiB + 1, stream));
  EXPECT_EQ(taken(), kMiB + 512);
  OK(CALL(cuMemAllocAsync)(&b, 512, stream));
  EXPECT_EQ(taken(), kMiB + 1024);
  OK(CALL(cuMemsetD8Async)(a, 3, kMiB + 1, stream));
  EXPECT_EQ(CALL(cuMemsetD8Async)(a, 3, kMiB + 2, stream), CUDA_ERROR_INVALID_VALUE);
  OK(CALL(cuMemFreeAsync)(a, stream));
  EXPECT_EQ(CALL(cuMemFreeAsync)(a, stream), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(taken(), 512u);
  OK(CALL(cuMemFree_v2)(b));
  EXPECT_EQ(CALL(cuMemAllocAsync)(&a, before + 512, stream), CUDA_ERROR_OUT_OF_MEMORY);
  EXPECT_EQ(CALL(cuMemAllocAsync)(&a, 0, stream), CUDA_ERROR_INVALID_VALUE);
}

TEST_F(Pool, KeepsMemoryUpToItsThreshold) {
  CUmemoryPool pool = create();
  uint64_t threshold = 2 * kMiB;
  OK(CALL(cuMemPoolSetAttribute)(pool, 4, &threshold));
  std::vector<CUdeviceptr> blocks(4);
  for (CUdeviceptr& block : blocks) OK(CALL(cuMemAllocFromPoolAsync)(&block, kMiB, pool, stream));
  EXPECT_EQ(taken(), 4 * kMiB);
  for (CUdeviceptr block : blocks) OK(CALL(cuMemFreeAsync)(block, stream));
  EXPECT_EQ(taken(), 2 * kMiB);
  EXPECT_EQ(attribute(pool, 5), 2 * kMiB);  // reserved, now and at most; used, now and at most
  EXPECT_EQ(attribute(pool, 6), 4 * kMiB);
  EXPECT_EQ(attribute(pool, 7), 0u);
  EXPECT_EQ(attribute(pool, 8), 4 * kMiB);
  OK(CALL(cuMemAllocFromPoolAsync)(&blocks[0], kMiB, pool, stream));
  EXPECT_EQ(taken(), 2 * kMiB);
  OK(CALL(cuMemPoolTrimTo)(pool, 0));
  EXPECT_EQ(taken(), kMiB);
  void* handle = nullptr;
  OK(CALL(cuPointerGetAttribute)(&handle, 17, blocks[0] + 5));
  EXPECT_EQ(handle, pool);
  OK(CALL(cuMemPoolDestroy)(pool));
  EXPECT_EQ(taken(), kMiB);
  EXPECT_EQ(CALL(cuMemPoolTrimTo)(pool, 0), CUDA_ERROR_INVALID_VALUE);
  OK(CALL(cuMemFreeAsync)(blocks[0], stream));
}

TEST_F(Pool, BecomesTheDevicesPoolAndKeepsItsLimit) {
  CUmemoryPool pool = create(kMiB);
  CUmemoryPool current = nullptr;
  CUdeviceptr a = 0;
  CUdeviceptr b = 0;
  OK(CALL(cuDeviceSetMemPool)(0, pool));
  OK(CALL(cuDeviceGetMemPool)(&current, 0));
  EXPECT_EQ(current, pool);
  OK(CALL(cuMemAllocAsync)(&a, kMiB - 512, stream));
  EXPECT_EQ(CALL(cuMemAllocAsync)(&b, 1024, stream), CUDA_ERROR_OUT_OF_MEMORY);
  OK(CALL(cuMemAllocAsync)(&b, 1, stream));
  OK(CALL(cuMemFreeAsync)(a, stream));
  OK(CALL(cuMemFreeAsync)(b, stream));
  OK(CALL(cuMemPoolDestroy)(pool));
  OK(CALL(cuDeviceGetDefaultMemPool)(&pool, 0));
  OK(CALL(cuDeviceGetMemPool)(&current, 0));
  EXPECT_EQ(current, pool);
  EXPECT_EQ(CALL(cuMemPoolDestroy)(pool), CUDA_ERROR_INVALID_VALUE);
}

TEST_F(Pool, WhatIsLeftGoesWithThePrimaryContext) {
  CUcontext other = nullptr;
  CUdeviceptr pointer = 0;
  OK(CALL(cuDevicePrimaryCtxRetain)(&other, 1));
  OK(CALL(cuCtxPushCurrent_v2)(other));
  const size_t free_there = free_bytes();
  OK(CALL(cuMemAllocAsync)(&pointer, kMiB, nullptr));
  OK(CALL(cuMemAllocManaged)(&pointer, kMiB, 1));
  EXPECT_EQ(free_there - free_bytes(), 2 * kMiB);
  OK(CALL(cuCtxPopCurrent_v2)(nullptr));
  OK(CALL(cuDevicePrimaryCtxRelease_v2)(1));
  OK(CALL(cuDevicePrimaryCtxRetain)(&other, 1));
  OK(CALL(cuCtxPushCurrent_v2)(other));
  EXPECT_EQ(free_bytes(), free_there);
  OK(CALL(cuCtxPopCurrent_v2)(nullptr));
  OK(CALL(cuDevicePrimaryCtxRelease_v2)(1));
}

TEST_F(Pool, ACapturedAllocationHasBytesFromItsLaunchUntilItsFree) {
  CUgraph graph = nullptr;
  CUgraphExec exec = nullptr;
  CUdeviceptr kept = 0;
  CUdeviceptr temporary = 0;
  OK(CALL(cuStreamBeginCapture_v2)(stream, kCaptureGlobal));
  OK(CALL(cuMemAllocAsync)(&kept, kMiB, stream));
  OK(CALL(cuMemAllocAsync)(&temporary, 2 * kMiB, stream));
  OK(launch_spin(kMs, stream));
  OK(CALL(cuMemFreeAsync)(temporary, stream));
  OK(CALL(cuStreamEndCapture)(stream, &graph));
  EXPECT_EQ(taken(), 0u);
  OK(CALL(cuGraphInstantiateWithFlags)(&exec, graph, 0));
  EXPECT_EQ(taken(), 0u);
  char byte = 0;
  EXPECT_EQ(CALL(cuMemcpyDtoH_v2)(&byte, kept, 1), CUDA_ERROR_INVALID_VALUE);
  OK(CALL(cuGraphLaunch)(exec, stream));
  EXPECT_EQ(taken(), 3 * kMiB);
  EXPECT_EQ(graph_attribute(0), kMiB);      // used
  EXPECT_EQ(graph_attribute(2), 3 * kMiB);  // reserved
  OK(CALL(cuMemsetD8_v2)(kept, 5, kMiB));
  OK(CALL(cuMemcpyDtoH_v2)(&byte, kept + 9, 1));
  EXPECT_EQ(byte, 5);
  EXPECT_EQ(CALL(cuGraphLaunch)(exec, stream), CUDA_ERROR_INVALID_VALUE);
  OK(CALL(cuDeviceGraphMemTrim)(0));
  EXPECT_EQ(taken(), kMiB);
  OK(CALL(cuMemFreeAsync)(kept, stream));
  EXPECT_EQ(taken(), kMiB);
  OK(CALL(cuGraphLaunch)(exec, stream));
  EXPECT_EQ(taken(), 3 * kMiB);
  OK(CALL(cuGraphExecDestroy)(exec));
  OK(CALL(cuGraphDestroy)(graph));
  EXPECT_EQ(taken(), kMiB);  // still allocated
  OK(CALL(cuMemFree_v2)(kept));
}

TEST_F(Pool, MemoryNodesCanBeMadeByHandAndFreedByTheNextLaunch) {
  CUgraph graph = nullptr;
  CUgraphExec exec = nullptr;
  CUgraphNode node = nullptr;
  OK(CALL(cuGraphCreate)(&graph, 0));
  CUDA_MEM_ALLOC_NODE_PARAMS alloc{};
  alloc.pool.allocation_type = kAllocationPinned;
  alloc.pool.location = {kLocationDevice, 0};
  alloc.bytes = kMiB;
  OK(CALL(cuGraphAddMemAllocNode)(&node, graph, nullptr, 0, &alloc));
  EXPECT_NE(alloc.address, 0u);
  CUDA_MEM_ALLOC_NODE_PARAMS read{};
  OK(CALL(cuGraphMemAllocNodeGetParams)(node, &read));
  EXPECT_EQ(read.address, alloc.address);
  OK(CALL(cuGraphInstantiateWithFlags)(&exec, graph, kInstantiateAutoFree));
  OK(CALL(cuGraphLaunch)(exec, stream));
  OK(CALL(cuGraphLaunch)(exec, stream));
  EXPECT_EQ(taken(), kMiB);
  // As much again as there is: refused whole.
  alloc.bytes = before;
  CUgraph large = nullptr;
  CUgraphExec refused = nullptr;
  OK(CALL(cuGraphCreate)(&large, 0));
  OK(CALL(cuGraphAddMemAllocNode)(&node, large, nullptr, 0, &alloc));
  OK(CALL(cuGraphInstantiateWithFlags)(&refused, large, 0));
  EXPECT_EQ(CALL(cuGraphLaunch)(refused, stream), CUDA_ERROR_OUT_OF_MEMORY);
  EXPECT_EQ(taken(), kMiB);
  OK(CALL(cuGraphExecDestroy)(refused));
  OK(CALL(cuGraphDestroy)(large));
  OK(CALL(cuMemFree_v2)(read.address));
  OK(CALL(cuGraphExecDestroy)(exec));
  OK(CALL(cuGraphDestroy)(graph));
}

TEST_F(Pool, ManagedMemoryIsTheHostsAndChargedToTheCard) {
  CUdeviceptr pointer = 0;
  OK(CALL(cuMemAllocManaged)(&pointer, kMiB, 1));
  EXPECT_EQ(taken(), kMiB);
  auto* bytes = reinterpret_cast<char*>(pointer);
  OK(CALL(cuMemsetD8_v2)(pointer, 7, 16));
  EXPECT_EQ(bytes[15], 7);
  strcpy(bytes, "host");
  char back[8] = {};
  OK(CALL(cuMemcpyDtoH_v2)(back, pointer, 5));
  EXPECT_STREQ(back, "host");
  int managed = 0;
  OK(CALL(cuPointerGetAttribute)(&managed, 8, pointer + 100));
  EXPECT_EQ(managed, 1);
  OK(CALL(cuMemPrefetchAsync)(pointer, kMiB, 0, stream));
  EXPECT_EQ(CALL(cuMemPrefetchAsync)(pointer, kMiB + 1, 0, stream), CUDA_ERROR_INVALID_VALUE);
  EXPECT_EQ(CALL(cuMemAllocManaged)(&pointer, before, 3), CUDA_ERROR_INVALID_VALUE);
  CUdeviceptr refused = 0;
  EXPECT_EQ(CALL(cuMemAllocManaged)(&refused, before, 1), CUDA_ERROR_OUT_OF_MEMORY);
  EXPECT_EQ(CALL(cuMemFree_v2)(pointer + 1), CUDA_ERROR_INVALID_VALUE);
  OK(CALL(cuMemFree_v2)(pointer));
}

}  // namespace

// Graphs, stream capture and host functions: our own declarations of that part of the CUDA driver ABI.
#pragma once

#include "softgpu/cuda/abi_memory.h"

using CUgraph = struct CUgraph_st*;
using CUgraphNode = struct CUgraphNode_st*;
using CUgraphExec = struct CUgraphExec_st*;
using CUuserObject = struct CUuserObject_st*;
using CUhostFn = void (*)(void* data);
using CUstreamCallback = void (*)(CUstream stream, CUresult status, void* data);

enum CUstreamCaptureStatus : int { kCaptureNone = 0, kCaptureActive = 1, kCaptureInvalidated = 2 };
enum CUstreamCaptureMode : int { kCaptureGlobal = 0, kCaptureThreadLocal = 1, kCaptureRelaxed = 2 };
inline constexpr unsigned kCaptureAddDependencies = 0;  // flags of cuStreamUpdateCaptureDependencies
inline constexpr unsigned kCaptureSetDependencies = 1;

enum CUgraphNodeType : int {
  kNodeKernel = 0,
  kNodeMemcpy = 1,
  kNodeMemset = 2,
  kNodeHost = 3,
  kNodeGraph = 4,
  kNodeEmpty = 5,
  kNodeWaitEvent = 6,
  kNodeEventRecord = 7,
  kNodeMemAlloc = 10,
  kNodeMemFree = 11,
};

struct CUgraphEdgeData {
  unsigned char from_port, to_port, type;
  unsigned char reserved[5];
};
static_assert(sizeof(CUgraphEdgeData) == 8);

struct CUDA_KERNEL_NODE_PARAMS_v1 {
  CUfunction function;
  unsigned grid_x, grid_y, grid_z;
  unsigned block_x, block_y, block_z;
  unsigned shared_bytes;
  void** parameters;
  void** extra;
};
struct CUDA_KERNEL_NODE_PARAMS {
  CUDA_KERNEL_NODE_PARAMS_v1 launch;
  CUkernel kernel;  // instead of launch.function
  CUcontext context;
};
static_assert(sizeof(CUDA_KERNEL_NODE_PARAMS_v1) == 56 && sizeof(CUDA_KERNEL_NODE_PARAMS) == 72);

struct CUDA_MEMSET_NODE_PARAMS {
  CUdeviceptr destination;
  size_t pitch;
  unsigned value;
  unsigned element_bytes;
  size_t width, height;
};
static_assert(sizeof(CUDA_MEMSET_NODE_PARAMS) == 40);

struct CUDA_HOST_NODE_PARAMS {
  CUhostFn function;
  void* data;
};

struct CUDA_MEM_ALLOC_NODE_PARAMS {
  CUmemPoolProps pool;
  const CUmemAccessDesc* access;
  size_t access_count;
  size_t bytes;
  CUdeviceptr address;  // out
};
static_assert(sizeof(CUDA_MEM_ALLOC_NODE_PARAMS) == 120);

struct CUDA_MEMCPY_NODE_PARAMS {
  int flags, reserved;
  CUcontext context;
  CUDA_MEMCPY3D copy;
};
struct CUDA_MEMSET_NODE_PARAMS_v2 {
  CUDA_MEMSET_NODE_PARAMS fill;
  CUcontext context;
};
struct CUDA_CHILD_GRAPH_NODE_PARAMS {
  CUgraph graph;
  int ownership;
};

// cuGraphAddNode's description of any node.
struct CUgraphNodeParams {
  CUgraphNodeType type;
  int reserved0[3];
  union {
    CUDA_KERNEL_NODE_PARAMS kernel;
    CUDA_MEMCPY_NODE_PARAMS memcpy;
    CUDA_MEMSET_NODE_PARAMS_v2 memset;
    CUDA_HOST_NODE_PARAMS host;
    CUDA_CHILD_GRAPH_NODE_PARAMS child;
    CUevent event;
    CUDA_MEM_ALLOC_NODE_PARAMS alloc;
    CUdeviceptr free;
    char bytes[232];
  };
  long long reserved2;
};
static_assert(sizeof(CUgraphNodeParams) == 256);

struct CUDA_GRAPH_INSTANTIATE_PARAMS {
  uint64_t flags;
  CUstream upload_stream;
  CUgraphNode error_node;  // out
  int result;              // out
};
static_assert(sizeof(CUDA_GRAPH_INSTANTIATE_PARAMS) == 32);
inline constexpr uint64_t kInstantiateAutoFree = 1;
inline constexpr uint64_t kInstantiateUpload = 2;
inline constexpr uint64_t kInstantiateDeviceLaunch = 4;
inline constexpr uint64_t kInstantiateNodePriority = 8;
inline constexpr int kInstantiateSuccess = 0;
inline constexpr int kInstantiateError = 1;
inline constexpr int kInstantiateMultipleContexts = 4;

enum CUgraphExecUpdateResult : int {
  kUpdateSuccess = 0,
  kUpdateError = 1,
  kUpdateTopologyChanged = 2,
  kUpdateNodeTypeChanged = 3,
  kUpdateParametersChanged = 5,
  kUpdateNotSupported = 6,
};
struct CUgraphExecUpdateResultInfo {
  CUgraphExecUpdateResult result;
  CUgraphNode error_node;
  CUgraphNode error_from_node;
};
static_assert(sizeof(CUgraphExecUpdateResultInfo) == 24);

// Our own declarations of the driver ABIs' part that the library touches. Names and numbers are the ABIs'.
#pragma once

#include <stddef.h>
#include <stdint.h>

// Before `return`: a jump. g++ has no such attribute before 15; with -O2 it jumps where this stands all the same.
#if __has_attribute(musttail)
#define TW_TAIL_CALL __attribute__((musttail))
#else
#define TW_TAIL_CALL
#endif

#define TW_EXPORT extern "C" __attribute__((visibility("default")))
// Of variables that other files define: the compiler need not expect them in another library.
#define TW_HIDDEN __attribute__((visibility("hidden")))

using CUresult = int;
using CUdevice = int;
using CUdeviceptr = unsigned long long;
using CUcontext = struct CUctx_st*;
using CUfunction = struct CUfunc_st*;
using CUstream = struct CUstream_st*;
using CUevent = struct CUevent_st*;
using CUmemoryPool = struct CUmemPoolHandle_st*;
using CUarray = struct CUarray_st*;
using CUmipmappedArray = struct CUmipmappedArray_st*;
using CUmodule = struct CUmod_st*;
using CUlibrary = struct CUlib_st*;
using CUgraph = struct CUgraph_st*;
using CUgraphNode = struct CUgraphNode_st*;
using CUgreenCtx = struct CUgreenCtx_st*;
using CUdevResourceDesc = struct CUdevResourceDesc_st*;
using CUgraphExec = struct CUgraphExec_st*;
using CUmemGenericAllocationHandle = unsigned long long;

inline constexpr CUresult CUDA_SUCCESS = 0;
inline constexpr CUresult CUDA_ERROR_OUT_OF_MEMORY = 2;
inline constexpr CUresult CUDA_ERROR_NOT_READY = 600;
inline constexpr CUresult CUDA_ERROR_NOT_PERMITTED = 800;
inline constexpr CUresult CUDA_ERROR_NOT_SUPPORTED = 801;
inline constexpr CUresult CUDA_ERROR_SYSTEM_NOT_READY = 802;

struct CUuuid {
  unsigned char bytes[16];
};

struct CUlaunchConfig {
  unsigned grid_x, grid_y, grid_z, block_x, block_y, block_z, shared_bytes;
  CUstream stream;
  void* attributes;
  unsigned attribute_count;
};
static_assert(offsetof(CUlaunchConfig, stream) == 32 && sizeof(CUlaunchConfig) == 56);

struct CUlaunchParams {  // CUDA_LAUNCH_PARAMS
  CUfunction function;
  unsigned grid_x, grid_y, grid_z, block_x, block_y, block_z, shared_bytes;
  CUstream stream;
  void** parameters;
};
static_assert(offsetof(CUlaunchParams, stream) == 40 && sizeof(CUlaunchParams) == 56);

// CUmemAllocationProp begins with the type, the handle types and the location {type, id}.
struct CUmemAllocationProp {
  int type;
  int requested_handle_types;
  int location_type;
  int location_id;
};
inline constexpr int kLocationDevice = 1;
// CUmemPoolProps begins alike.
using CUmemPoolProps = CUmemAllocationProp;

struct CUmemAllocNodeParams {
  CUmemPoolProps pool;
  char rest_of_pool[72];
  const void* access;
  size_t access_count;
  size_t bytes;
  CUdeviceptr address;
};

struct CUarrayDescriptor {
  size_t width, height;
  int format;
  unsigned channels;
};
struct CUarray3DDescriptor {
  size_t width, height, depth;
  int format;
  unsigned channels;
  unsigned flags;
};
static_assert(sizeof(CUarrayDescriptor) == 24 && sizeof(CUarray3DDescriptor) == 40);
// No memory of their own: cuMemMapArrayAsync gives them some.
inline constexpr unsigned kArraySparse = 0x40, kArrayDeferred = 0x80;

struct CUarrayMapInfo {
  int resource_type;
  void* resource;  // array or mipmapped array
  int subresource_type;
  uint64_t subresource[4];  // which part of it
  int operation;
  int handle_type;
  CUmemGenericAllocationHandle handle;
  uint64_t offset;
  unsigned device_mask, flags, reserved[2];
};
static_assert(offsetof(CUarrayMapInfo, subresource) == 24 && offsetof(CUarrayMapInfo, operation) == 56 &&
              offsetof(CUarrayMapInfo, handle) == 64 && sizeof(CUarrayMapInfo) == 96);
inline constexpr int kMapTile = 1, kUnmapTile = 2;  // CUmemOperationType

struct CUarrayMemoryRequirements {
  size_t bytes, alignment;
  unsigned reserved[4];
};

inline constexpr uintptr_t kPerThreadStream = 2;
inline constexpr uint64_t kProcAddressPerThread = 2;  // flag of cuGetProcAddress

using nvmlReturn_t = int;
using nvmlDevice_t = struct nvmlDevice_st*;
inline constexpr nvmlReturn_t NVML_SUCCESS = 0;
inline constexpr nvmlReturn_t NVML_ERROR_FUNCTION_NOT_FOUND = 13;

inline constexpr nvmlReturn_t NVML_ERROR_INVALID_ARGUMENT = 2;
inline constexpr nvmlReturn_t NVML_ERROR_NOT_FOUND = 6;
inline constexpr nvmlReturn_t NVML_ERROR_INSUFFICIENT_SIZE = 7;

// Of a running process; the second form is that of _v2 and _v3.
struct nvmlProcessInfo_v1_t {
  unsigned pid;
  unsigned long long memory_bytes;
};
struct nvmlProcessInfo_t {
  unsigned pid;
  unsigned long long memory_bytes;
  unsigned gpu_instance, compute_instance;
};
static_assert(sizeof(nvmlProcessInfo_v1_t) == 16 && sizeof(nvmlProcessInfo_t) == 24);

struct nvmlProcessDetail_t {
  unsigned pid;
  unsigned long long memory_bytes;
  unsigned gpu_instance, compute_instance;
  unsigned long long protected_bytes;
};
struct nvmlProcessDetailList_t {
  unsigned version, mode, count;
  nvmlProcessDetail_t* processes;
};
struct nvmlProcessSample_t {
  unsigned pid;
  unsigned long long time_us;
  unsigned sm, memory, encoder, decoder;
};
struct nvmlProcessUsage_t {
  unsigned long long time_us;
  unsigned pid, sm, memory, encoder, decoder, jpeg, optical_flow;
};
struct nvmlProcessesUsage_t {
  unsigned version, count;
  unsigned long long since;
  nvmlProcessUsage_t* rows;
};
static_assert(sizeof(nvmlProcessDetail_t) == 32 && sizeof(nvmlProcessDetailList_t) == 24 &&
              sizeof(nvmlProcessSample_t) == 32 && sizeof(nvmlProcessUsage_t) == 40 &&
              sizeof(nvmlProcessesUsage_t) == 24);

struct nvmlMemory_t {
  unsigned long long total, free, used;
};
struct nvmlMemory_v2_t {
  unsigned version;
  unsigned long long total, reserved, free, used;
};
static_assert(sizeof(nvmlMemory_v2_t) == 40);

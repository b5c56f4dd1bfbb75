// Our own declarations of the part of the CUDA driver ABI (13.0) that the stand-in offers. No toolkit is
// needed.
//
// Names and numbers are the ABI's. Handles are opaque to callers; what they point at is in driver.h.
#pragma once

#include <cstddef>
#include <cstdint>

#ifndef TW_EXPORT
#define TW_EXPORT extern "C" __attribute__((visibility("default")))
#endif
// A call and its form whose default stream is the thread's own (suffix _ptds or _ptsz).
#define TW_EXPORT_BOTH(name, suffix, parameters) \
  TW_EXPORT CUresult name parameters;            \
  TW_EXPORT CUresult name##suffix parameters

enum CUresult : int {
  CUDA_SUCCESS = 0,
  CUDA_ERROR_INVALID_VALUE = 1,
  CUDA_ERROR_OUT_OF_MEMORY = 2,
  CUDA_ERROR_NOT_INITIALIZED = 3,
  CUDA_ERROR_DEINITIALIZED = 4,
  CUDA_ERROR_NO_DEVICE = 100,
  CUDA_ERROR_INVALID_DEVICE = 101,
  CUDA_ERROR_INVALID_IMAGE = 200,
  CUDA_ERROR_INVALID_CONTEXT = 201,
  CUDA_ERROR_FILE_NOT_FOUND = 301,
  CUDA_ERROR_OPERATING_SYSTEM = 304,
  CUDA_ERROR_INVALID_HANDLE = 400,
  CUDA_ERROR_ILLEGAL_STATE = 401,
  CUDA_ERROR_NOT_FOUND = 500,
  CUDA_ERROR_NOT_READY = 600,
  CUDA_ERROR_PEER_ACCESS_ALREADY_ENABLED = 704,
  CUDA_ERROR_PEER_ACCESS_NOT_ENABLED = 705,
  CUDA_ERROR_PRIMARY_CONTEXT_ACTIVE = 708,
  CUDA_ERROR_CONTEXT_IS_DESTROYED = 709,
  CUDA_ERROR_HOST_MEMORY_ALREADY_REGISTERED = 712,
  CUDA_ERROR_HOST_MEMORY_NOT_REGISTERED = 713,
  CUDA_ERROR_COOPERATIVE_LAUNCH_TOO_LARGE = 720,
  CUDA_ERROR_NOT_PERMITTED = 800,
  CUDA_ERROR_NOT_SUPPORTED = 801,
  CUDA_ERROR_STREAM_CAPTURE_UNSUPPORTED = 900,
  CUDA_ERROR_STREAM_CAPTURE_INVALIDATED = 901,
  CUDA_ERROR_STREAM_CAPTURE_MERGE = 902,
  CUDA_ERROR_STREAM_CAPTURE_UNMATCHED = 903,
  CUDA_ERROR_STREAM_CAPTURE_UNJOINED = 904,
  CUDA_ERROR_STREAM_CAPTURE_ISOLATION = 905,
  CUDA_ERROR_STREAM_CAPTURE_IMPLICIT = 906,
  CUDA_ERROR_CAPTURED_EVENT = 907,
  CUDA_ERROR_STREAM_CAPTURE_WRONG_THREAD = 908,
  CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE = 910,
  CUDA_ERROR_INVALID_CLUSTER_SIZE = 912,
  CUDA_ERROR_INVALID_RESOURCE_TYPE = 914,
  CUDA_ERROR_INVALID_RESOURCE_CONFIGURATION = 915,
  CUDA_ERROR_UNKNOWN = 999,
};

using CUdevice = int;
using CUdeviceptr = unsigned long long;
using CUcontext = struct CUctx_st*;
using CUmodule = struct CUmod_st*;
using CUfunction = struct CUfunc_st*;
using CUlibrary = struct CUlib_st*;
using CUkernel = struct CUkern_st*;
using CUlinkState = struct CUlinkState_st*;
using CUstream = struct CUstream_st*;
using CUevent = struct CUevent_st*;

inline constexpr uintptr_t kLegacyStream = 1;     // CU_STREAM_LEGACY; 0 is the API's default stream
inline constexpr uintptr_t kPerThreadStream = 2;  // CU_STREAM_PER_THREAD

struct CUuuid {
  unsigned char bytes[16];
};

struct CUlaunchAttribute {
  int id;
  char pad[4];
  unsigned char value[64];
};

struct CUlaunchConfig {
  unsigned grid_x, grid_y, grid_z;
  unsigned block_x, block_y, block_z;
  unsigned shared_bytes;
  CUstream stream;
  CUlaunchAttribute* attributes;
  unsigned attribute_count;
};
static_assert(offsetof(CUlaunchConfig, stream) == 32 && sizeof(CUlaunchConfig) == 56);

struct CUDA_LAUNCH_PARAMS {
  CUfunction function;
  unsigned grid_x, grid_y, grid_z;
  unsigned block_x, block_y, block_z;
  unsigned shared_bytes;
  CUstream stream;
  void** parameters;
};
static_assert(offsetof(CUDA_LAUNCH_PARAMS, stream) == 40 && sizeof(CUDA_LAUNCH_PARAMS) == 56);

using CUarray = struct CUarray_st*;

enum CUmemorytype : unsigned { kMemoryHost = 1, kMemoryDevice = 2, kMemoryArray = 3, kMemoryUnified = 4 };

struct CUDA_MEMCPY2D {
  size_t src_x, src_y;
  CUmemorytype src_type;
  const void* src_host;
  CUdeviceptr src_device;
  CUarray src_array;
  size_t src_pitch;
  size_t dst_x, dst_y;
  CUmemorytype dst_type;
  void* dst_host;
  CUdeviceptr dst_device;
  CUarray dst_array;
  size_t dst_pitch;
  size_t width, height;
};
static_assert(sizeof(CUDA_MEMCPY2D) == 128);

struct CUDA_MEMCPY3D {
  size_t src_x, src_y, src_z, src_lod;
  CUmemorytype src_type;
  const void* src_host;
  CUdeviceptr src_device;
  CUarray src_array;
  void* reserved0;  // the peer form's source context
  size_t src_pitch, src_height;
  size_t dst_x, dst_y, dst_z, dst_lod;
  CUmemorytype dst_type;
  void* dst_host;
  CUdeviceptr dst_device;
  CUarray dst_array;
  void* reserved1;
  size_t dst_pitch, dst_height;
  size_t width, height, depth;
};
static_assert(offsetof(CUDA_MEMCPY3D, dst_x) == 88 && sizeof(CUDA_MEMCPY3D) == 200);

// `extra` of cuLaunchKernel.
inline constexpr uintptr_t kLaunchParamEnd = 0;
inline constexpr uintptr_t kLaunchParamBufferPointer = 1;
inline constexpr uintptr_t kLaunchParamBufferSize = 2;

inline constexpr unsigned kStreamNonBlocking = 1;
inline constexpr unsigned kEventDisableTiming = 2;

// Flags of cuGetProcAddress: 0 and 1 mean the legacy default stream, 2 the thread's own.
inline constexpr uint64_t kProcAddressPerThreadStream = 2;
enum CUdriverProcAddressQueryResult : int {
  kProcAddressFound = 0,
  kProcAddressNotFound = 1,
  kProcAddressVersionTooLow = 2,
};

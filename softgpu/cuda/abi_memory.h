// Memory beyond plain allocations: our own declarations of that part of the CUDA driver ABI.
#pragma once

#include "softgpu/cuda/abi.h"

using CUmemoryPool = struct CUmemPoolHandle_st*;
using CUmemGenericAllocationHandle = unsigned long long;

struct CUmemLocation {
  int type;
  int id;
};
inline constexpr int kLocationDevice = 1;
inline constexpr int kLocationHost = 2;

inline constexpr int kAllocationPinned = 1;  // CUmemAllocationType
inline constexpr int kHandleNone = 0;        // CUmemAllocationHandleType
inline constexpr int kHandleFileDescriptor = 1;

struct CUmemAccessDesc {
  CUmemLocation location;
  int flags;
};
static_assert(sizeof(CUmemAccessDesc) == 12);
inline constexpr int kAccessNone = 0;
inline constexpr int kAccessRead = 1;
inline constexpr int kAccessReadWrite = 3;

struct CUmemAllocationProp {
  int type;
  int handle_types;
  CUmemLocation location;
  void* metadata;
  unsigned char compression, rdma;
  unsigned short usage;
  unsigned char reserved[4];
};
static_assert(sizeof(CUmemAllocationProp) == 32);

struct CUmemPoolProps {
  int allocation_type;
  int handle_types;
  CUmemLocation location;
  void* security_attributes;
  size_t max_bytes;
  unsigned short usage;
  unsigned char reserved[54];
};
static_assert(sizeof(CUmemPoolProps) == 88);

struct CUipcMemHandle {
  char bytes[64];
};

struct CUDA_ARRAY_DESCRIPTOR {
  size_t width, height;
  unsigned format;
  unsigned channels;
};
static_assert(sizeof(CUDA_ARRAY_DESCRIPTOR) == 24);

struct CUDA_ARRAY3D_DESCRIPTOR {
  size_t width, height, depth;
  unsigned format;
  unsigned channels;
  unsigned flags;
};
static_assert(sizeof(CUDA_ARRAY3D_DESCRIPTOR) == 40);

struct CUDA_ARRAY_MEMORY_REQUIREMENTS {
  size_t bytes, alignment;
  unsigned reserved[4];
};
static_assert(sizeof(CUDA_ARRAY_MEMORY_REQUIREMENTS) == 32);

using CUmipmappedArray = struct CUmipmappedArray_st*;

// A part of an array that memory is mapped to: a box of a level, or a range of the small levels' tail.
struct CUarrayMapInfo {
  int resource_type;  // array or mipmapped array
  void* resource;
  int subresource_type;
  unsigned long long subresource[4];
  int operation;
  int handle_type;
  CUmemGenericAllocationHandle handle;
  unsigned long long offset;
  unsigned device_mask;
  unsigned flags;
  unsigned reserved[2];
};
static_assert(offsetof(CUarrayMapInfo, subresource) == 24 && offsetof(CUarrayMapInfo, operation) == 56 &&
              offsetof(CUarrayMapInfo, handle) == 64 && sizeof(CUarrayMapInfo) == 96);
inline constexpr int kMapTile = 1;  // CUmemOperationType
inline constexpr int kUnmapTile = 2;

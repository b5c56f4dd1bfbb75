// Green contexts: our own declarations of that part of the CUDA driver ABI.
#pragma once

#include "softgpu/cuda/abi.h"

using CUgreenCtx = struct CUgreenCtx_st*;
using CUdevResourceDesc = struct CUdevResourceDesc_st*;

inline constexpr int kResourceSm = 1;               // CUdevResourceType
inline constexpr unsigned kGreenDefaultStream = 1;  // the flag that cuGreenCtxCreate must be given

struct CUdevSmResource {
  unsigned sm_count;
  unsigned min_partition;
  unsigned alignment;
  unsigned flags;
};

struct CUdevResource {
  int type;
  unsigned char padding[92];
  union {
    CUdevSmResource sm;
    unsigned char bytes[40];
  };
  CUdevResource* next;
};
static_assert(offsetof(CUdevResource, sm) == 96 && sizeof(CUdevResource) == 144);

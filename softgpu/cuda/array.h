// Arrays and mipmapped arrays: opaque memory of a card that copies reach by coordinates. Here their rows lie
// one behind the other, without padding; they are charged as any allocation. Safe from any thread.
#pragma once

#include <cstddef>

#include "softgpu/cuda/abi_memory.h"

namespace tweendeck::softgpu {

struct Context;

struct Array {
  CUDA_ARRAY3D_DESCRIPTOR shape{};
  Context* context = nullptr;
  CUdeviceptr address = 0;
  size_t pitch = 0;  // bytes per row
  size_t rows = 0;   // per slice
  size_t slices = 0;
  bool is_level = false;  // of a mipmapped array, which owns the memory
};

const Array* find_array(CUarray handle);  // nullptr: no such handle
void destroy_arrays(const Context& context);

}  // namespace tweendeck::softgpu

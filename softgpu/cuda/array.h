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

  // Memory is mapped to it, tile by tile or at once. Copies do not reach it.
  bool has_no_memory() const { return (shape.flags & (kSparse | kDeferred)) != 0; }
  static constexpr unsigned kSparse = 0x40, kDeferred = 0x80;
};

const Array* find_array(CUarray handle);  // nullptr: no such handle
bool takes_tiles(const void* handle);     // an array or mipmapped array without memory of its own
void destroy_arrays(const Context& context);

}  // namespace tweendeck::softgpu

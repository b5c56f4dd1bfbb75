// Copies and fills of bytes, of any shape. They take the host's copying time and no time of the card.
#include <algorithm>
#include <cstring>

#include "softgpu/cuda/array.h"
#include "softgpu/cuda/driver.h"
#include "softgpu/cuda/operation.h"

namespace tweendeck::softgpu {
namespace {

// One side of a copy: the first byte, and the distances between rows and between slices.
struct Side {
  char* bytes = nullptr;
  size_t pitch = 0;
  size_t slice = 0;
};

struct SideArguments {
  CUmemorytype type;
  uint64_t host;
  CUdeviceptr device;
  CUarray array;
  size_t x, y, z, pitch, height;
};

bool span_of(size_t slices, size_t slice, size_t rows, size_t pitch, size_t width, size_t& span) {
  size_t lower = 0;
  return !__builtin_mul_overflow(slices - 1, slice, &span) &&
         !__builtin_mul_overflow(rows - 1, pitch, &lower) && !__builtin_add_overflow(span, lower, &span) &&
         !__builtin_add_overflow(span, width, &span);
}

CUresult resolve_linear(const SideArguments& a, const CUDA_MEMCPY3D& c, Side& side) {
  Driver& driver = *Driver::get();
  side.pitch = a.pitch != 0 ? a.pitch : a.x + c.width;
  const size_t rows = a.height != 0 ? a.height : a.y + c.height;
  if (a.x > side.pitch || c.width > side.pitch - a.x) return CUDA_ERROR_INVALID_VALUE;
  if (c.depth > 1 && (a.y > rows || c.height > rows - a.y)) return CUDA_ERROR_INVALID_VALUE;
  size_t offset = 0;
  size_t span = 0;
  if (__builtin_mul_overflow(side.pitch, rows, &side.slice)) {
    if (c.depth > 1) return CUDA_ERROR_INVALID_VALUE;
    side.slice = 0;
  }
  if (!span_of(a.z + 1, side.slice, a.y + 1, side.pitch, a.x, offset) ||
      !span_of(c.depth, side.slice, c.height, side.pitch, c.width, span)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (a.type == kMemoryDevice) {
    side.bytes = driver.translate(a.device + offset, span);
  } else {
    side.bytes = driver.any_bytes((a.type == kMemoryHost ? a.host : a.device) + offset, span);
  }
  return side.bytes == nullptr ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

CUresult resolve_array(const SideArguments& a, const CUDA_MEMCPY3D& c, Side& side) {
  const Array* array = find_array(a.array);
  if (array == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  if (array->has_no_memory()) return CUDA_ERROR_NOT_SUPPORTED;
  const bool fits = a.x <= array->pitch && c.width <= array->pitch - a.x && a.y <= array->rows &&
                    c.height <= array->rows - a.y && a.z <= array->slices && c.depth <= array->slices - a.z;
  if (!fits) return CUDA_ERROR_INVALID_VALUE;
  side.pitch = array->pitch;
  side.slice = array->pitch * array->rows;
  const CUdeviceptr first = array->address + a.z * side.slice + a.y * side.pitch + a.x;
  side.bytes = Driver::get()->memory_of(array->context->device)->host(first, c.width);
  return side.bytes == nullptr ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

CUresult resolve(const SideArguments& a, const CUDA_MEMCPY3D& c, Side& side) {
  if (a.type == kMemoryArray) return resolve_array(a, c, side);
  if (a.type != kMemoryHost && a.type != kMemoryDevice && a.type != kMemoryUnified) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  return resolve_linear(a, c, side);
}

CUresult resolve(const CUDA_MEMCPY3D& c, Side& from, Side& to) {
  const SideArguments source{c.src_type,   reinterpret_cast<uint64_t>(c.src_host),
                             c.src_device, c.src_array,
                             c.src_x,      c.src_y,
                             c.src_z,      c.src_pitch,
                             c.src_height};
  const SideArguments destination{c.dst_type,   reinterpret_cast<uint64_t>(c.dst_host),
                                  c.dst_device, c.dst_array,
                                  c.dst_x,      c.dst_y,
                                  c.dst_z,      c.dst_pitch,
                                  c.dst_height};
  if (CUresult error = resolve(source, c, from); error != CUDA_SUCCESS) return error;
  return resolve(destination, c, to);
}

bool is_empty(const CUDA_MEMCPY3D& c) {
  return c.width == 0 || c.height == 0 || c.depth == 0;
}

CUresult resolve(const CUDA_MEMSET_NODE_PARAMS& f, char*& bytes) {
  const size_t size = f.element_bytes;
  if ((size != 1 && size != 2 && size != 4) || f.width > SIZE_MAX / size) return CUDA_ERROR_INVALID_VALUE;
  if (f.destination % size != 0 || (f.height > 1 && f.pitch < f.width * size))
    return CUDA_ERROR_INVALID_VALUE;
  if (f.width == 0 || f.height == 0) return CUDA_SUCCESS;
  size_t span = 0;
  if (!span_of(1, 0, f.height, f.pitch, f.width * size, span)) return CUDA_ERROR_INVALID_VALUE;
  bytes = Driver::get()->translate(f.destination, span);
  return bytes == nullptr ? CUDA_ERROR_INVALID_VALUE : CUDA_SUCCESS;
}

}  // namespace

CUDA_MEMCPY3D linear_copy(CUmemorytype to_type, uint64_t to, CUmemorytype from_type, uint64_t from,
                          size_t bytes) {
  CUDA_MEMCPY3D copy{};
  copy.src_type = from_type;
  copy.dst_type = to_type;
  // NOLINTBEGIN(performance-no-int-to-ptr)
  if (from_type == kMemoryHost) copy.src_host = reinterpret_cast<const void*>(from);
  if (to_type == kMemoryHost) copy.dst_host = reinterpret_cast<void*>(to);
  // NOLINTEND(performance-no-int-to-ptr)
  if (from_type != kMemoryHost) copy.src_device = from;
  if (to_type != kMemoryHost) copy.dst_device = to;
  copy.width = bytes;
  copy.height = copy.depth = 1;
  return copy;
}

CUresult check_copy(const CUDA_MEMCPY3D& copy) {
  Side from;
  Side to;
  return is_empty(copy) ? CUDA_SUCCESS : resolve(copy, from, to);
}

CUresult move_bytes(const CUDA_MEMCPY3D& copy) {
  Side from;
  Side to;
  if (is_empty(copy)) return CUDA_SUCCESS;
  if (CUresult error = resolve(copy, from, to); error != CUDA_SUCCESS) return error;
  for (size_t z = 0; z < copy.depth; ++z) {
    for (size_t y = 0; y < copy.height; ++y) {
      memmove(to.bytes + z * to.slice + y * to.pitch, from.bytes + z * from.slice + y * from.pitch,
              copy.width);
    }
  }
  return CUDA_SUCCESS;
}

CUresult check_fill(const CUDA_MEMSET_NODE_PARAMS& fill) {
  char* bytes = nullptr;
  return resolve(fill, bytes);
}

CUresult fill_bytes(const CUDA_MEMSET_NODE_PARAMS& fill) {
  char* bytes = nullptr;
  if (CUresult error = resolve(fill, bytes); error != CUDA_SUCCESS || bytes == nullptr) return error;
  for (size_t row = 0; row < fill.height; ++row, bytes += fill.pitch) {
    switch (fill.element_bytes) {
      case 1:
        memset(bytes, static_cast<int>(fill.value), fill.width);
        break;
      case 2:
        std::fill_n(reinterpret_cast<uint16_t*>(bytes), fill.width, static_cast<uint16_t>(fill.value));
        break;
      default:
        std::fill_n(reinterpret_cast<uint32_t*>(bytes), fill.width, fill.value);
    }
  }
  return CUDA_SUCCESS;
}

}  // namespace tweendeck::softgpu

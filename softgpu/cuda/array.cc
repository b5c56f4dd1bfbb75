#include "softgpu/cuda/array.h"

#include <algorithm>
#include <memory>
#include <mutex>
#include <unordered_map>

#include "softgpu/cuda/api.h"
#include "softgpu/cuda/capture.h"
#include "softgpu/cuda/driver.h"
#include "softgpu/cuda/tiles.h"

using namespace tweendeck::softgpu;

namespace {

constexpr unsigned kLayered = 1;  // CUDA_ARRAY3D_LAYERED
constexpr unsigned kCubemap = 4;
constexpr unsigned kKnownFlags = 0xff;
constexpr size_t kMaxExtent = 1 << 17;
constexpr unsigned kMaxLevels = 18;

struct Mipmap {
  Context* context = nullptr;
  CUdeviceptr address = 0;
  size_t bytes = 0;
  std::vector<std::unique_ptr<Array>> levels;
};

struct State {
  std::mutex mutex;
  std::unordered_map<const void*, std::unique_ptr<Array>> arrays;
  std::unordered_map<const void*, std::unique_ptr<Mipmap>> mipmaps;
  std::unordered_map<const void*, Array*> levels;
};

State& state() {
  static auto* all = new State;  // never destroyed: other threads may be in a call at exit
  return *all;
}

// CUarray_format; 0: none that is supported (planar and block-compressed ones are not).
size_t element_bytes(unsigned format) {
  switch (format) {
    case 0x01:
    case 0x08:
      return 1;
    case 0x02:
    case 0x09:
    case 0x10:
      return 2;
    case 0x03:
    case 0x0a:
    case 0x20:
      return 4;
    default:
      return 0;
  }
}

size_t bytes_of(const Array& array) {
  return array.pitch * array.rows * array.slices;
}

CUresult lay_out(const CUDA_ARRAY3D_DESCRIPTOR& shape, Array& array) {
  const size_t element = element_bytes(shape.format);
  const bool channels_fit = shape.channels == 1 || shape.channels == 2 || shape.channels == 4;
  if (element == 0 || !channels_fit || shape.width == 0 || (shape.flags & ~kKnownFlags) != 0) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if (shape.width > kMaxExtent || shape.height > kMaxExtent || shape.depth > kMaxExtent) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  if ((shape.flags & kCubemap) != 0 && (shape.width != shape.height || shape.depth % 6 != 0)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  array.shape = shape;
  array.pitch = shape.width * element * shape.channels;
  array.rows = std::max<size_t>(shape.height, 1);
  array.slices = std::max<size_t>(shape.depth, 1);
  return CUDA_SUCCESS;
}

CUresult allocate(Context& context, size_t bytes, CUdeviceptr& address) {
  Driver& driver = *Driver::get();
  if (CUresult error = refuse_unsafe(); error != CUDA_SUCCESS) return error;
  const uint32_t card = driver.device(context.device)->card;
  const uint64_t charge = DeviceMemory::charge_for(bytes);
  if (bytes > driver.info(context.device).memory_bytes || !driver.client().reserve(card, charge)) {
    return CUDA_ERROR_OUT_OF_MEMORY;
  }
  address =
      driver.memory_of(context.device)->allocate(bytes, {MemoryKind::Array, &context, nullptr, nullptr});
  if (address != 0) return CUDA_SUCCESS;
  driver.client().release(card, charge);
  return CUDA_ERROR_OUT_OF_MEMORY;
}

void release(const Context& context, CUdeviceptr address) {
  Driver& driver = *Driver::get();
  if (const auto freed = driver.memory_of(context.device)->free(address)) {
    driver.client().release(driver.device(context.device)->card, freed->charged);
  }
}

CUresult create(CUarray* out, const CUDA_ARRAY3D_DESCRIPTOR& shape) {
  TW_DRIVER(driver);
  TW_CONTEXT(context);
  auto array = std::make_unique<Array>();
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (CUresult error = lay_out(shape, *array); error != CUDA_SUCCESS) return error;
  if (!array->has_no_memory()) {
    if (CUresult error = allocate(*context, bytes_of(*array), array->address); error != CUDA_SUCCESS)
      return error;
  }
  array->context = context;
  *out = reinterpret_cast<CUarray>(array.get());
  std::lock_guard guard(state().mutex);
  state().arrays.emplace(array.get(), std::move(array));
  return CUDA_SUCCESS;
}

CUresult create_mipmap(CUmipmappedArray* out, CUDA_ARRAY3D_DESCRIPTOR shape, unsigned levels) {
  TW_DRIVER(driver);
  TW_CONTEXT(context);
  if (out == nullptr || levels == 0) return CUDA_ERROR_INVALID_VALUE;
  auto mipmap = std::make_unique<Mipmap>();
  mipmap->context = context;
  std::vector<size_t> offsets;
  for (unsigned i = 0; i < std::min(levels, kMaxLevels); ++i) {
    auto level = std::make_unique<Array>();
    if (CUresult error = lay_out(shape, *level); error != CUDA_SUCCESS) return error;
    level->context = context;
    level->is_level = true;
    offsets.push_back(mipmap->bytes);
    mipmap->bytes += DeviceMemory::charge_for(bytes_of(*level));
    mipmap->levels.push_back(std::move(level));
    const bool is_smallest = shape.width == 1 && shape.height <= 1 && shape.depth <= 1;
    if (is_smallest) break;
    shape.width = std::max<size_t>(shape.width / 2, 1);
    if (shape.height > 0) shape.height = std::max<size_t>(shape.height / 2, 1);
    if (shape.depth > 0 && (shape.flags & kLayered) == 0) shape.depth = std::max<size_t>(shape.depth / 2, 1);
  }
  if (!mipmap->levels.front()->has_no_memory()) {
    if (CUresult error = allocate(*context, mipmap->bytes, mipmap->address); error != CUDA_SUCCESS)
      return error;
  }
  std::lock_guard guard(state().mutex);
  for (size_t i = 0; i < mipmap->levels.size(); ++i) {
    Array* level = mipmap->levels[i].get();
    level->address = mipmap->address + offsets[i];
    state().levels.emplace(level, level);
  }
  *out = reinterpret_cast<CUmipmappedArray>(mipmap.get());
  state().mipmaps.emplace(mipmap.get(), std::move(mipmap));
  return CUDA_SUCCESS;
}

// The mutex is held.
const Array* find(CUarray handle) {
  if (const auto own = state().arrays.find(handle); own != state().arrays.end()) return own->second.get();
  const auto level = state().levels.find(handle);
  return level == state().levels.end() ? nullptr : level->second;
}

void forget(Mipmap& mipmap) {
  for (const auto& level : mipmap.levels) state().levels.erase(level.get());
}

CUresult describe(CUarray handle, CUDA_ARRAY3D_DESCRIPTOR& out) {
  TW_DRIVER(driver);
  std::lock_guard guard(state().mutex);
  const Array* array = find(handle);
  if (array == nullptr) return CUDA_ERROR_INVALID_HANDLE;
  out = array->shape;
  return CUDA_SUCCESS;
}

}  // namespace

namespace tweendeck::softgpu {

const Array* find_array(CUarray handle) {
  std::lock_guard guard(state().mutex);
  return find(handle);
}

bool takes_tiles(const void* handle) {
  std::lock_guard guard(state().mutex);
  if (const auto own = state().arrays.find(handle); own != state().arrays.end())
    return own->second->has_no_memory();
  const auto mipmap = state().mipmaps.find(handle);
  return mipmap != state().mipmaps.end() && mipmap->second->levels.front()->has_no_memory();
}

// Their memory goes with the context's.
void destroy_arrays(const Context& context) {
  std::lock_guard guard(state().mutex);
  std::erase_if(state().arrays, [&](const auto& entry) {
    if (entry.second->context != &context) return false;
    unmap_tiles(entry.first);
    return true;
  });
  std::erase_if(state().mipmaps, [&](const auto& entry) {
    if (entry.second->context != &context) return false;
    unmap_tiles(entry.first);
    forget(*entry.second);
    return true;
  });
}

}  // namespace tweendeck::softgpu

CUresult cuArrayCreate_v2(CUarray* out, const CUDA_ARRAY_DESCRIPTOR* shape) {
  if (shape == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return create(out, {shape->width, shape->height, 0, shape->format, shape->channels, 0});
}
CUresult cuArray3DCreate_v2(CUarray* out, const CUDA_ARRAY3D_DESCRIPTOR* shape) {
  return shape == nullptr ? CUDA_ERROR_INVALID_VALUE : create(out, *shape);
}

CUresult cuArrayDestroy(CUarray handle) {
  TW_DRIVER(driver);
  std::unique_ptr<Array> array;
  {
    std::lock_guard guard(state().mutex);
    const auto found = state().arrays.find(handle);
    if (found == state().arrays.end()) return CUDA_ERROR_INVALID_HANDLE;
    array = std::move(found->second);
    state().arrays.erase(found);
  }
  synchronize(*array->context);
  unmap_tiles(handle);
  if (array->address != 0) release(*array->context, array->address);
  return CUDA_SUCCESS;
}

CUresult cuArrayGetDescriptor_v2(CUDA_ARRAY_DESCRIPTOR* out, CUarray handle) {
  CUDA_ARRAY3D_DESCRIPTOR shape{};
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (CUresult error = describe(handle, shape); error != CUDA_SUCCESS) return error;
  *out = {shape.width, shape.height, shape.format, shape.channels};
  return CUDA_SUCCESS;
}
CUresult cuArray3DGetDescriptor_v2(CUDA_ARRAY3D_DESCRIPTOR* out, CUarray handle) {
  return out == nullptr ? CUDA_ERROR_INVALID_VALUE : describe(handle, *out);
}

CUresult cuArrayGetMemoryRequirements(CUDA_ARRAY_MEMORY_REQUIREMENTS* out, CUarray handle, CUdevice) {
  TW_DRIVER(driver);
  std::lock_guard guard(state().mutex);
  const Array* array = find(handle);
  if (out == nullptr || array == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *out = {DeviceMemory::charge_for(bytes_of(*array)), kAllocationGranularity, {}};
  return CUDA_SUCCESS;
}

CUresult cuMipmappedArrayCreate(CUmipmappedArray* out, const CUDA_ARRAY3D_DESCRIPTOR* shape,
                                unsigned levels) {
  return shape == nullptr ? CUDA_ERROR_INVALID_VALUE : create_mipmap(out, *shape, levels);
}

CUresult cuMipmappedArrayGetLevel(CUarray* out, CUmipmappedArray handle, unsigned level) {
  TW_DRIVER(driver);
  std::lock_guard guard(state().mutex);
  const auto found = state().mipmaps.find(handle);
  if (found == state().mipmaps.end()) return CUDA_ERROR_INVALID_HANDLE;
  if (out == nullptr || level >= found->second->levels.size()) return CUDA_ERROR_INVALID_VALUE;
  *out = reinterpret_cast<CUarray>(found->second->levels[level].get());
  return CUDA_SUCCESS;
}

CUresult cuMipmappedArrayGetMemoryRequirements(CUDA_ARRAY_MEMORY_REQUIREMENTS* out, CUmipmappedArray handle,
                                               CUdevice) {
  TW_DRIVER(driver);
  std::lock_guard guard(state().mutex);
  const auto found = state().mipmaps.find(handle);
  if (out == nullptr || found == state().mipmaps.end()) return CUDA_ERROR_INVALID_VALUE;
  *out = {found->second->bytes, kAllocationGranularity, {}};
  return CUDA_SUCCESS;
}

CUresult cuMipmappedArrayDestroy(CUmipmappedArray handle) {
  TW_DRIVER(driver);
  std::unique_ptr<Mipmap> mipmap;
  {
    std::lock_guard guard(state().mutex);
    const auto found = state().mipmaps.find(handle);
    if (found == state().mipmaps.end()) return CUDA_ERROR_INVALID_HANDLE;
    mipmap = std::move(found->second);
    state().mipmaps.erase(found);
    forget(*mipmap);
  }
  synchronize(*mipmap->context);
  unmap_tiles(handle);
  if (mipmap->address != 0) release(*mipmap->context, mipmap->address);
  return CUDA_SUCCESS;
}

// Arrays and mipmapped arrays: the driver chooses their layout, so it is asked what they will take.
#include "vgpu/preload/abi.h"
#include "vgpu/preload/calls.h"
#include "vgpu/preload/charge.h"
#include "vgpu/preload/tenant.h"
#include "vgpu/preload/tiles.h"

using namespace tweendeck::vgpu;

namespace {

// Bytes of one channel of an element. Formats that hold more in one element (planes, blocks) take no more
// than four.
uint64_t format_bytes(int format) {
  switch (format) {
    case 0x01:  // unsigned and signed, 8 bits
    case 0x08:
      return 1;
    case 0x02:  // unsigned, signed, float, 16 bits
    case 0x09:
    case 0x10:
      return 2;
    default:
      return 4;
  }
}

uint64_t or_one(uint64_t size) {
  return size ? size : 1;
}

// Without padding. False: more than 64 bits can say, so the driver shall refuse.
bool plain_bytes(const CUarray3DDescriptor& array, unsigned levels, uint64_t& total) {
  total = 0;
  uint64_t width = or_one(array.width), height = or_one(array.height), depth = or_one(array.depth);
  for (unsigned level = 0; level < levels; ++level) {
    uint64_t bytes = format_bytes(array.format) * or_one(array.channels);
    if (__builtin_mul_overflow(bytes, width, &bytes) || __builtin_mul_overflow(bytes, height, &bytes) ||
        __builtin_mul_overflow(bytes, depth, &bytes) || __builtin_add_overflow(total, bytes, &total)) {
      return false;
    }
    width = or_one(width / 2);
    height = or_one(height / 2);
    depth = or_one(depth / 2);
  }
  return true;
}

// A twin that gets no memory tells what the array takes; drivers that have no such arrays do not say it.
template <class Array, class Create>
uint64_t bytes_of_twin(const char* requirements, const char* destroy, const CUarray3DDescriptor& array,
                       Create create) {
  auto* const require = driver<CUresult(CUarrayMemoryRequirements*, Array, CUdevice)>(requirements);
  auto* const destroy_twin = driver<CUresult(Array)>(destroy);
  auto* const current = driver<CUresult(CUdevice*)>("cuCtxGetDevice");
  CUdevice device = 0;
  if (!require || !destroy_twin || !current || current(&device) != CUDA_SUCCESS) return 0;
  CUarray3DDescriptor deferred = array;
  deferred.flags |= kArrayDeferred;
  Array twin = nullptr;
  if (create(&twin, &deferred) != CUDA_SUCCESS) return 0;
  CUarrayMemoryRequirements needs = {};
  const CUresult told = require(&needs, twin, device);
  destroy_twin(twin);
  return told == CUDA_SUCCESS ? needs.bytes : 0;
}

template <class Array, class Create>
CUresult create_array(Array* out, const CUarray3DDescriptor& array, unsigned levels, const char* requirements,
                      const char* destroy, Create create, auto ask) {
  uint64_t bytes = 0;
  if ((array.flags & (kArraySparse | kArrayDeferred)) != 0 || !plain_bytes(array, levels, bytes))
    return ask();
  const uint64_t told = bytes_of_twin<Array>(requirements, destroy, array, create);
  return allocate_into(out, page_device_now(), in_granules(told ? told : bytes), TW_VGPU_KIND_ARRAY, ask);
}

CUresult create_plain(CUarray* out, const CUarray3DDescriptor& array, auto ask) {
  const auto create = [](CUarray* twin, const CUarray3DDescriptor* descriptor) {
    return real<CUresult(CUarray*, const CUarray3DDescriptor*)>(kCall_cuArray3DCreate_v2)(twin, descriptor);
  };
  return create_array(out, array, 1, "cuArrayGetMemoryRequirements", "cuArrayDestroy", create, ask);
}

CUresult on_cuArrayCreate_v2(auto* ask, CUarray* out, const CUarrayDescriptor* descriptor) {
  const auto call = [&] { return ask(out, descriptor); };
  if (!descriptor || !real_address(kCall_cuArray3DCreate_v2)) return call();
  const CUarray3DDescriptor array = {descriptor->width,  descriptor->height,   0,
                                     descriptor->format, descriptor->channels, 0};
  return create_plain(out, array, call);
}

CUresult on_cuArray3DCreate_v2(auto* ask, CUarray* out, const CUarray3DDescriptor* descriptor) {
  const auto call = [&] { return ask(out, descriptor); };
  return descriptor ? create_plain(out, *descriptor, call) : call();
}

CUresult on_cuMipmappedArrayCreate(auto* ask, CUmipmappedArray* out, const CUarray3DDescriptor* descriptor,
                                   unsigned levels) {
  const auto call = [&] { return ask(out, descriptor, levels); };
  if (!descriptor) return call();
  const auto create = [&](CUmipmappedArray* twin, const CUarray3DDescriptor* of) {
    return ask(twin, of, levels);
  };
  return create_array(out, *descriptor, levels, "cuMipmappedArrayGetMemoryRequirements",
                      "cuMipmappedArrayDestroy", create, call);
}

template <class Array, class Ask>
CUresult destroy_array(Array array, Ask ask) {
  const Locked locked(g_tiles_lock);
  const CUresult result = give_back(reinterpret_cast<uint64_t>(array), ask);
  if (result == CUDA_SUCCESS) tiles_of_array_gone(array);
  return result;
}

CUresult on_cuArrayDestroy(auto* ask, CUarray array) {
  return destroy_array(array, [&] { return ask(array); });
}

CUresult on_cuMipmappedArrayDestroy(auto* ask, CUmipmappedArray array) {
  return destroy_array(array, [&] { return ask(array); });
}

}  // namespace

#include "wrappers_arrays.inc"

// Copies and fills as calls. Bytes move at the time of the call; a call that the API defines as synchronous
// first waits for its stream.
#include "softgpu/cuda/api.h"
#include "softgpu/cuda/capture.h"
#include "softgpu/cuda/driver.h"
#include "softgpu/cuda/forms.h"
#include "softgpu/cuda/operation.h"

using namespace tweendeck::softgpu;

namespace {

enum class Sync : bool { No, Yes };

uint64_t address(const void* pointer) {
  return reinterpret_cast<uint64_t>(pointer);
}

CUresult copy(const CUDA_MEMCPY3D& c, CUstream handle, bool per_thread, Sync sync) {
  TW_DRIVER(driver);
  TW_CONTEXT(context);
  Stream* stream = nullptr;
  if (CUresult error = resolve_stream(handle, per_thread, stream); error != CUDA_SUCCESS) return error;
  if (sync == Sync::Yes) {
    if (CUresult error = refuse_captured(*stream); error != CUDA_SUCCESS) return error;
    synchronize(*stream);
    return move_bytes(c);
  }
  if (CUresult error = check_copy(c); error != CUDA_SUCCESS) return error;
  return perform(*stream, CopyOperation{c});
}

CUresult fill(const CUDA_MEMSET_NODE_PARAMS& f, CUstream handle, bool per_thread) {
  TW_DRIVER(driver);
  TW_CONTEXT(context);
  Stream* stream = nullptr;
  if (CUresult error = resolve_stream(handle, per_thread, stream); error != CUDA_SUCCESS) return error;
  if (CUresult error = check_fill(f); error != CUDA_SUCCESS) return error;
  return perform(*stream, FillOperation{f});
}

template <class Element>
CUresult fill_line(CUdeviceptr to, Element value, size_t n, CUstream stream, bool per_thread) {
  return fill({to, 0, value, sizeof(Element), n, 1}, stream, per_thread);
}
template <class Element>
CUresult fill_box(CUdeviceptr to, size_t pitch, Element value, size_t width, size_t height, CUstream stream,
                  bool per_thread) {
  return fill({to, pitch, value, sizeof(Element), width, height}, stream, per_thread);
}

CUresult copy_2d(const CUDA_MEMCPY2D* c, CUstream stream, bool per_thread, Sync sync) {
  if (c == nullptr) return CUDA_ERROR_INVALID_VALUE;
  CUDA_MEMCPY3D box{};
  box.src_x = c->src_x;
  box.src_y = c->src_y;
  box.src_type = c->src_type;
  box.src_host = c->src_host;
  box.src_device = c->src_device;
  box.src_array = c->src_array;
  box.src_pitch = c->src_pitch;
  box.dst_x = c->dst_x;
  box.dst_y = c->dst_y;
  box.dst_type = c->dst_type;
  box.dst_host = c->dst_host;
  box.dst_device = c->dst_device;
  box.dst_array = c->dst_array;
  box.dst_pitch = c->dst_pitch;
  box.width = c->width;
  box.height = c->height;
  box.depth = 1;
  return copy(box, stream, per_thread, sync);
}

CUresult copy_3d(const CUDA_MEMCPY3D* c, CUstream stream, bool per_thread, Sync sync) {
  return c == nullptr ? CUDA_ERROR_INVALID_VALUE : copy(*c, stream, per_thread, sync);
}

CUDA_MEMCPY3D any(CUdeviceptr to, CUdeviceptr from, size_t n) {
  return linear_copy(kMemoryUnified, to, kMemoryUnified, from, n);
}
CUDA_MEMCPY3D to_device(CUdeviceptr to, const void* from, size_t n) {
  return linear_copy(kMemoryDevice, to, kMemoryHost, address(from), n);
}
CUDA_MEMCPY3D to_host(void* to, CUdeviceptr from, size_t n) {
  return linear_copy(kMemoryHost, address(to), kMemoryDevice, from, n);
}
// One row of an array: the older calls with an offset in bytes.
CUDA_MEMCPY3D with_array(CUDA_MEMCPY3D c, CUarray to, size_t to_offset, CUarray from, size_t from_offset) {
  if (to != nullptr) c.dst_type = kMemoryArray;
  if (from != nullptr) c.src_type = kMemoryArray;
  c.dst_array = to;
  c.dst_x = to_offset;
  c.src_array = from;
  c.src_x = from_offset;
  return c;
}
CUDA_MEMCPY3D on_device(CUdeviceptr to, CUdeviceptr from, size_t n) {
  return linear_copy(kMemoryDevice, to, kMemoryUnified, from, n);
}

}  // namespace

TW_TWO_FORMS(cuMemcpy, _ptds, (CUdeviceptr to, CUdeviceptr from, size_t n),
             copy(any(to, from, n), nullptr, kPerThread, Sync::Yes))
TW_TWO_FORMS(cuMemcpyHtoD_v2, _ptds, (CUdeviceptr to, const void* from, size_t n),
             copy(to_device(to, from, n), nullptr, kPerThread, Sync::Yes))
TW_TWO_FORMS(cuMemcpyDtoH_v2, _ptds, (void* to, CUdeviceptr from, size_t n),
             copy(to_host(to, from, n), nullptr, kPerThread, Sync::Yes))
TW_TWO_FORMS(cuMemcpyDtoD_v2, _ptds, (CUdeviceptr to, CUdeviceptr from, size_t n),
             copy(on_device(to, from, n), nullptr, kPerThread, Sync::No))
TW_TWO_FORMS(cuMemcpyPeer, _ptds, (CUdeviceptr to, CUcontext, CUdeviceptr from, CUcontext, size_t n),
             copy(on_device(to, from, n), nullptr, kPerThread, Sync::No))
TW_TWO_FORMS(cuMemcpyAsync, _ptsz, (CUdeviceptr to, CUdeviceptr from, size_t n, CUstream stream),
             copy(any(to, from, n), stream, kPerThread, Sync::No))
TW_TWO_FORMS(cuMemcpyHtoDAsync_v2, _ptsz, (CUdeviceptr to, const void* from, size_t n, CUstream stream),
             copy(to_device(to, from, n), stream, kPerThread, Sync::No))
TW_TWO_FORMS(cuMemcpyDtoHAsync_v2, _ptsz, (void* to, CUdeviceptr from, size_t n, CUstream stream),
             copy(to_host(to, from, n), stream, kPerThread, Sync::No))
TW_TWO_FORMS(cuMemcpyDtoDAsync_v2, _ptsz, (CUdeviceptr to, CUdeviceptr from, size_t n, CUstream stream),
             copy(on_device(to, from, n), stream, kPerThread, Sync::No))
TW_TWO_FORMS(cuMemcpyPeerAsync, _ptsz,
             (CUdeviceptr to, CUcontext, CUdeviceptr from, CUcontext, size_t n, CUstream stream),
             copy(on_device(to, from, n), stream, kPerThread, Sync::No))
TW_TWO_FORMS(cuMemcpy2D_v2, _ptds, (const CUDA_MEMCPY2D* c), copy_2d(c, nullptr, kPerThread, Sync::Yes))
TW_TWO_FORMS(cuMemcpy2DUnaligned_v2, _ptds, (const CUDA_MEMCPY2D* c),
             copy_2d(c, nullptr, kPerThread, Sync::Yes))
TW_TWO_FORMS(cuMemcpy2DAsync_v2, _ptsz, (const CUDA_MEMCPY2D* c, CUstream stream),
             copy_2d(c, stream, kPerThread, Sync::No))
TW_TWO_FORMS(cuMemcpy3D_v2, _ptds, (const CUDA_MEMCPY3D* c), copy_3d(c, nullptr, kPerThread, Sync::Yes))
TW_TWO_FORMS(cuMemcpy3DAsync_v2, _ptsz, (const CUDA_MEMCPY3D* c, CUstream stream),
             copy_3d(c, stream, kPerThread, Sync::No))
// The peer forms hold their contexts where the others have reserved words; addresses say it all.
TW_TWO_FORMS(cuMemcpy3DPeer, _ptds, (const CUDA_MEMCPY3D* c), copy_3d(c, nullptr, kPerThread, Sync::Yes))
TW_TWO_FORMS(cuMemcpy3DPeerAsync, _ptsz, (const CUDA_MEMCPY3D* c, CUstream stream),
             copy_3d(c, stream, kPerThread, Sync::No))

TW_TWO_FORMS(cuMemcpyHtoA_v2, _ptds, (CUarray to, size_t offset, const void* from, size_t n),
             copy(with_array(to_device(0, from, n), to, offset, nullptr, 0), nullptr, kPerThread, Sync::Yes))
TW_TWO_FORMS(cuMemcpyAtoH_v2, _ptds, (void* to, CUarray from, size_t offset, size_t n),
             copy(with_array(to_host(to, 0, n), nullptr, 0, from, offset), nullptr, kPerThread, Sync::Yes))
TW_TWO_FORMS(cuMemcpyDtoA_v2, _ptds, (CUarray to, size_t offset, CUdeviceptr from, size_t n),
             copy(with_array(on_device(0, from, n), to, offset, nullptr, 0), nullptr, kPerThread, Sync::No))
TW_TWO_FORMS(cuMemcpyAtoD_v2, _ptds, (CUdeviceptr to, CUarray from, size_t offset, size_t n),
             copy(with_array(on_device(to, 0, n), nullptr, 0, from, offset), nullptr, kPerThread, Sync::No))
TW_TWO_FORMS(cuMemcpyAtoA_v2, _ptds,
             (CUarray to, size_t to_offset, CUarray from, size_t from_offset, size_t n),
             copy(with_array(on_device(0, 0, n), to, to_offset, from, from_offset), nullptr, kPerThread,
                  Sync::No))
TW_TWO_FORMS(cuMemcpyHtoAAsync_v2, _ptsz,
             (CUarray to, size_t offset, const void* from, size_t n, CUstream stream),
             copy(with_array(to_device(0, from, n), to, offset, nullptr, 0), stream, kPerThread, Sync::No))
TW_TWO_FORMS(cuMemcpyAtoHAsync_v2, _ptsz, (void* to, CUarray from, size_t offset, size_t n, CUstream stream),
             copy(with_array(to_host(to, 0, n), nullptr, 0, from, offset), stream, kPerThread, Sync::No))

// The host may go on before the card has filled it, but work behind it sees it: done now, it is seen.
TW_TWO_FORMS(cuMemsetD8_v2, _ptds, (CUdeviceptr to, unsigned char value, size_t n),
             fill_line(to, value, n, nullptr, kPerThread))
TW_TWO_FORMS(cuMemsetD16_v2, _ptds, (CUdeviceptr to, unsigned short value, size_t n),
             fill_line(to, value, n, nullptr, kPerThread))
TW_TWO_FORMS(cuMemsetD32_v2, _ptds, (CUdeviceptr to, unsigned value, size_t n),
             fill_line(to, value, n, nullptr, kPerThread))
TW_TWO_FORMS(cuMemsetD8Async, _ptsz, (CUdeviceptr to, unsigned char value, size_t n, CUstream stream),
             fill_line(to, value, n, stream, kPerThread))
TW_TWO_FORMS(cuMemsetD16Async, _ptsz, (CUdeviceptr to, unsigned short value, size_t n, CUstream stream),
             fill_line(to, value, n, stream, kPerThread))
TW_TWO_FORMS(cuMemsetD32Async, _ptsz, (CUdeviceptr to, unsigned value, size_t n, CUstream stream),
             fill_line(to, value, n, stream, kPerThread))
TW_TWO_FORMS(cuMemsetD2D8_v2, _ptds,
             (CUdeviceptr to, size_t pitch, unsigned char value, size_t width, size_t height),
             fill_box(to, pitch, value, width, height, nullptr, kPerThread))
TW_TWO_FORMS(cuMemsetD2D16_v2, _ptds,
             (CUdeviceptr to, size_t pitch, unsigned short value, size_t width, size_t height),
             fill_box(to, pitch, value, width, height, nullptr, kPerThread))
TW_TWO_FORMS(cuMemsetD2D32_v2, _ptds,
             (CUdeviceptr to, size_t pitch, unsigned value, size_t width, size_t height),
             fill_box(to, pitch, value, width, height, nullptr, kPerThread))
TW_TWO_FORMS(cuMemsetD2D8Async, _ptsz,
             (CUdeviceptr to, size_t pitch, unsigned char value, size_t width, size_t height,
              CUstream stream),
             fill_box(to, pitch, value, width, height, stream, kPerThread))
TW_TWO_FORMS(cuMemsetD2D16Async, _ptsz,
             (CUdeviceptr to, size_t pitch, unsigned short value, size_t width, size_t height,
              CUstream stream),
             fill_box(to, pitch, value, width, height, stream, kPerThread))
TW_TWO_FORMS(cuMemsetD2D32Async, _ptsz,
             (CUdeviceptr to, size_t pitch, unsigned value, size_t width, size_t height, CUstream stream),
             fill_box(to, pitch, value, width, height, stream, kPerThread))

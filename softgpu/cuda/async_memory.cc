// Stream-ordered allocation, and the memory nodes of graphs.
#include "softgpu/cuda/api.h"
#include "softgpu/cuda/capture.h"
#include "softgpu/cuda/driver.h"
#include "softgpu/cuda/forms.h"
#include "softgpu/cuda/graph_memory.h"
#include "softgpu/cuda/operation.h"
#include "softgpu/cuda/pool.h"

using namespace tweendeck::softgpu;

namespace {

CUresult make_allocation(int device, size_t bytes, AllocOperation& operation) {
  if (bytes == 0) return CUDA_ERROR_INVALID_VALUE;
  if (bytes > Driver::get()->info(device).memory_bytes) return CUDA_ERROR_OUT_OF_MEMORY;
  operation.allocation = make_graph_allocation(device, bytes);
  return operation.allocation == nullptr ? CUDA_ERROR_OUT_OF_MEMORY : CUDA_SUCCESS;
}

// `pool` null: the current one of the stream's device.
CUresult allocate_async(CUdeviceptr* out, size_t bytes, Pool* pool, CUstream handle, bool per_thread) {
  TW_DRIVER(driver);
  Stream* stream = nullptr;
  if (out == nullptr || bytes == 0) return CUDA_ERROR_INVALID_VALUE;
  if (CUresult error = resolve_stream(handle, per_thread, stream); error != CUDA_SUCCESS) return error;
  if (pool == nullptr) pool = current_pool(stream->context->device);
  if (!is_capturing(*stream)) return allocate_from(*pool, bytes, out);
  AllocOperation operation;
  if (CUresult error = make_allocation(pool->device, bytes, operation); error != CUDA_SUCCESS) return error;
  *out = operation.allocation->address;
  return capture_operation(*stream, operation);
}

CUresult free_async(CUdeviceptr address, CUstream handle, bool per_thread) {
  TW_DRIVER(driver);
  Stream* stream = nullptr;
  if (CUresult error = resolve_stream(handle, per_thread, stream); error != CUDA_SUCCESS) return error;
  if (address == 0) return CUDA_SUCCESS;
  return perform(*stream, FreeOperation{address});
}

CUresult allocate_from_pool(CUdeviceptr* out, size_t bytes, CUmemoryPool handle, CUstream stream,
                            bool per_thread) {
  TW_DRIVER(driver);
  Pool* pool = find_pool(handle);
  return pool == nullptr ? CUDA_ERROR_INVALID_VALUE : allocate_async(out, bytes, pool, stream, per_thread);
}

}  // namespace

TW_TWO_FORMS(cuMemAllocAsync, _ptsz, (CUdeviceptr * out, size_t bytes, CUstream stream),
             allocate_async(out, bytes, nullptr, stream, kPerThread))
TW_TWO_FORMS(cuMemAllocFromPoolAsync, _ptsz,
             (CUdeviceptr * out, size_t bytes, CUmemoryPool pool, CUstream stream),
             allocate_from_pool(out, bytes, pool, stream, kPerThread))
TW_TWO_FORMS(cuMemFreeAsync, _ptsz, (CUdeviceptr address, CUstream stream),
             free_async(address, stream, kPerThread))

namespace tweendeck::softgpu {

CUresult make_alloc(const CUDA_MEM_ALLOC_NODE_PARAMS* p, AllocOperation& operation) {
  TW_DRIVER(driver);
  if (p == nullptr || p->pool.location.type != kLocationDevice) return CUDA_ERROR_INVALID_VALUE;
  if (driver->device(p->pool.location.id) == nullptr) return CUDA_ERROR_INVALID_DEVICE;
  return make_allocation(p->pool.location.id, p->bytes, operation);
}

void describe_alloc(const AllocOperation& operation, CUDA_MEM_ALLOC_NODE_PARAMS& out) {
  const GraphAllocation& allocation = *operation.allocation;
  out = {};
  out.pool.allocation_type = kAllocationPinned;
  out.pool.location = {kLocationDevice, allocation.device};
  out.bytes = allocation.bytes;
  out.address = allocation.address;
}

}  // namespace tweendeck::softgpu

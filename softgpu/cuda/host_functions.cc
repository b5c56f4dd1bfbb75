// Host functions as calls: cuLaunchHostFunc and the older stream callback.
#include "softgpu/cuda/api.h"
#include "softgpu/cuda/capture.h"
#include "softgpu/cuda/driver.h"
#include "softgpu/cuda/forms.h"
#include "softgpu/cuda/host_calls.h"
#include "softgpu/cuda/operation.h"

using namespace tweendeck::softgpu;

namespace {

CUresult launch_host(CUstream handle, CUhostFn function, void* data, bool per_thread) {
  TW_DRIVER(driver);
  Stream* stream = nullptr;
  if (function == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (CUresult error = resolve_stream(handle, per_thread, stream); error != CUDA_SUCCESS) return error;
  return perform(*stream, HostOperation{{function, data}});
}

CUresult add_callback(CUstream handle, CUstreamCallback callback, void* data, unsigned flags,
                      bool per_thread) {
  TW_DRIVER(driver);
  Stream* stream = nullptr;
  if (callback == nullptr || flags != 0) return CUDA_ERROR_INVALID_VALUE;
  if (CUresult error = resolve_stream(handle, per_thread, stream); error != CUDA_SUCCESS) return error;
  if (CUresult error = refuse_captured(*stream); error != CUDA_SUCCESS) return error;
  queue_host_call(*stream, [=] { callback(handle, CUDA_SUCCESS, data); });
  return CUDA_SUCCESS;
}

}  // namespace

TW_TWO_FORMS(cuLaunchHostFunc, _ptsz, (CUstream stream, CUhostFn function, void* data),
             launch_host(stream, function, data, kPerThread))
TW_TWO_FORMS(cuStreamAddCallback, _ptsz,
             (CUstream stream, CUstreamCallback callback, void* data, unsigned flags),
             add_callback(stream, callback, data, flags, kPerThread))

// From the API's parameters of a graph node to the operation that it is, checked. CUDA_SUCCESS, or the error that
// the call answers. Safe from any thread.
#pragma once

#include <utility>

#include "softgpu/cuda/graph.h"

namespace tweendeck::softgpu {

// A null context is the calling thread's.
CUresult make_kernel(const CUDA_KERNEL_NODE_PARAMS_v1* p, CUkernel kernel, CUcontext context,
                     KernelOperation& operation);
CUresult make_kernel(const CUDA_KERNEL_NODE_PARAMS* p, KernelOperation& operation);
CUresult make_copy(const CUDA_MEMCPY3D* p, CopyOperation& operation);
CUresult make_fill(const CUDA_MEMSET_NODE_PARAMS* p, FillOperation& operation);
CUresult make_host(const CUDA_HOST_NODE_PARAMS* p, HostOperation& operation);
CUresult make_child(CUgraph graph, ChildOperation& operation);
CUresult make_event(CUevent event, EventWaitOperation& operation);
CUresult make_event(CUevent event, EventRecordOperation& operation);

// Whether a free node may have this address.
CUresult check_freeable(CUdeviceptr address);

// An operation that `make_own` makes in its own kind.
template <class Kind, class Make>
CUresult make(Operation& operation, Make make_own) {
  Kind own;
  if (CUresult error = make_own(own); error != CUDA_SUCCESS) return error;
  operation = std::move(own);
  return CUDA_SUCCESS;
}

CUresult make_any(const CUgraphNodeParams* p, Operation& operation);

}  // namespace tweendeck::softgpu

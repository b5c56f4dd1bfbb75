#include "softgpu/cuda/graph_parameters.h"

#include "softgpu/cuda/api.h"
#include "softgpu/cuda/driver.h"

namespace tweendeck::softgpu {

CUresult make_kernel(const CUDA_KERNEL_NODE_PARAMS_v1* p, CUkernel kernel, CUcontext context_handle,
                     KernelOperation& operation) {
  TW_DRIVER(driver);
  if (p == nullptr) return CUDA_ERROR_INVALID_VALUE;
  auto* context = context_handle == nullptr ? current_context() : reinterpret_cast<Context*>(context_handle);
  if (context == nullptr || !driver->is_context(context)) return CUDA_ERROR_INVALID_CONTEXT;
  const CUfunction function = p->function != nullptr ? p->function : reinterpret_cast<CUfunction>(kernel);
  return describe_kernel({p->grid_x, p->grid_y, p->grid_z, p->block_x, p->block_y, p->block_z,
                          p->shared_bytes, nullptr, nullptr, 0},
                         function, p->parameters, p->extra, context, 0, operation);
}
CUresult make_kernel(const CUDA_KERNEL_NODE_PARAMS* p, KernelOperation& operation) {
  if (p == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return make_kernel(&p->launch, p->kernel, p->context, operation);
}

CUresult make_copy(const CUDA_MEMCPY3D* p, CopyOperation& operation) {
  TW_DRIVER(driver);
  if (p == nullptr) return CUDA_ERROR_INVALID_VALUE;
  operation.copy = *p;
  return check_copy(*p);
}

CUresult make_fill(const CUDA_MEMSET_NODE_PARAMS* p, FillOperation& operation) {
  TW_DRIVER(driver);
  if (p == nullptr) return CUDA_ERROR_INVALID_VALUE;
  operation.fill = *p;
  return check_fill(*p);
}

CUresult make_host(const CUDA_HOST_NODE_PARAMS* p, HostOperation& operation) {
  TW_DRIVER(driver);
  if (p == nullptr || p->function == nullptr) return CUDA_ERROR_INVALID_VALUE;
  operation.call = *p;
  return CUDA_SUCCESS;
}

CUresult make_child(CUgraph handle, ChildOperation& operation) {
  TW_DRIVER(driver);
  std::lock_guard guard(Graphs::get().mutex);
  const Graph* graph = Graphs::get().find(handle);
  if (graph == nullptr) return CUDA_ERROR_INVALID_VALUE;
  operation.graph = clone_graph(*graph);
  return CUDA_SUCCESS;
}

namespace {

template <class Kind>
CUresult use_event(CUevent handle, Kind& operation) {
  TW_DRIVER(driver);
  operation.event = reinterpret_cast<Event*>(handle);
  return handle == nullptr || !operation.event->alive.load() ? CUDA_ERROR_INVALID_HANDLE : CUDA_SUCCESS;
}

}  // namespace

CUresult make_event(CUevent handle, EventWaitOperation& operation) {
  return use_event(handle, operation);
}
CUresult make_event(CUevent handle, EventRecordOperation& operation) {
  return use_event(handle, operation);
}

CUresult check_freeable(CUdeviceptr address) {
  TW_DRIVER(driver);
  DeviceMemory* memory = driver->find_memory(address);
  const auto range = memory == nullptr ? std::nullopt : memory->find(address);
  return range && range->address == address ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult make_any(const CUgraphNodeParams* p, Operation& operation) {
  if (p == nullptr) return CUDA_ERROR_INVALID_VALUE;
  switch (p->type) {
    case kNodeKernel:
      return make<KernelOperation>(operation, [&](auto& own) { return make_kernel(&p->kernel, own); });
    case kNodeMemcpy:
      return make<CopyOperation>(operation, [&](auto& own) { return make_copy(&p->memcpy.copy, own); });
    case kNodeMemset:
      return make<FillOperation>(operation, [&](auto& own) { return make_fill(&p->memset.fill, own); });
    case kNodeHost:
      return make<HostOperation>(operation, [&](auto& own) { return make_host(&p->host, own); });
    case kNodeGraph:
      return make<ChildOperation>(operation, [&](auto& own) { return make_child(p->child.graph, own); });
    case kNodeEmpty:
      operation = EmptyOperation{};
      return CUDA_SUCCESS;
    case kNodeWaitEvent:
      return make<EventWaitOperation>(operation, [&](auto& own) { return make_event(p->event, own); });
    case kNodeEventRecord:
      return make<EventRecordOperation>(operation, [&](auto& own) { return make_event(p->event, own); });
    case kNodeMemAlloc:
      return make<AllocOperation>(operation, [&](auto& own) { return make_alloc(&p->alloc, own); });
    case kNodeMemFree:
      operation = FreeOperation{p->free};
      return check_freeable(p->free);
    default:
      return CUDA_ERROR_NOT_SUPPORTED;  // external semaphores, conditional nodes, batches
  }
}

}  // namespace tweendeck::softgpu

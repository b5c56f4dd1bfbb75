// What graph nodes do: adding them, and reading and changing their parameters.
#include <algorithm>

#include "softgpu/cuda/api.h"
#include "softgpu/cuda/driver.h"
#include "softgpu/cuda/graph.h"
#include "softgpu/cuda/graph_memory.h"
#include "softgpu/cuda/graph_parameters.h"

using namespace tweendeck::softgpu;

namespace {

CUresult add(CUgraphNode* out, CUgraph graph_handle, const CUgraphNode* dependencies, size_t count,
             const Operation& operation) {
  Graphs& graphs = Graphs::get();
  std::lock_guard guard(graphs.mutex);
  Graph* graph = graphs.find(graph_handle);
  if (out == nullptr || graph == nullptr || (count > 0 && dependencies == nullptr)) {
    return CUDA_ERROR_INVALID_VALUE;
  }
  std::vector<Node*> before;
  for (size_t i = 0; i < count; ++i) {
    Node* node = graphs.find(dependencies[i]);
    const bool is_new = std::ranges::find(before, node) == before.end();
    if (node == nullptr || node->graph != graph || !is_new) return CUDA_ERROR_INVALID_VALUE;
    before.push_back(node);
  }
  *out = handle_of(add_node(*graph, operation, before));
  return CUDA_SUCCESS;
}

template <class Kind, class Use>
CUresult with(CUgraphNode handle, Use use) {
  TW_DRIVER(driver);
  Graphs& graphs = Graphs::get();
  std::lock_guard guard(graphs.mutex);
  Node* node = graphs.find(handle);
  if (node == nullptr) return CUDA_ERROR_INVALID_VALUE;
  Kind* operation = std::get_if<Kind>(&node->operation);
  return operation == nullptr ? CUDA_ERROR_INVALID_VALUE : use(*operation, *node);
}

template <class Kind>
CUresult set(CUgraphNode handle, const Kind& changed) {
  return with<Kind>(handle, [&](Kind& own, Node&) {
    own = changed;
    return CUDA_SUCCESS;
  });
}

template <class Kind, class Make>
CUresult add_kind(CUgraphNode* out, CUgraph graph, const CUgraphNode* dependencies, size_t count,
                  Make make_own) {
  Operation operation;
  if (CUresult error = make<Kind>(operation, make_own); error != CUDA_SUCCESS) return error;
  return add(out, graph, dependencies, count, operation);
}

template <class Kind, class Make>
CUresult set_kind(CUgraphNode node, Make make_own) {
  Kind own;
  if (CUresult error = make_own(own); error != CUDA_SUCCESS) return error;
  return set(node, own);
}

template <class Kind, class Make>
CUresult set_exec_kind(CUgraphExec exec, CUgraphNode node, Make make_own) {
  Operation operation;
  if (CUresult error = make<Kind>(operation, make_own); error != CUDA_SUCCESS) return error;
  return set_exec_operation(exec, node, operation);
}

// The parameters of kernels other than tw_spin are not known, since their images are not read.
void describe(KernelOperation& kernel, Node& node, CUDA_KERNEL_NODE_PARAMS_v1& out) {
  const CUlaunchConfig& s = kernel.shape;
  const bool has_argument = reinterpret_cast<const Function*>(kernel.function)->is_spin;
  node.parameters[0] = &kernel.argument_ns;
  out = {kernel.function, s.grid_x,       s.grid_y,
         s.grid_z,        s.block_x,      s.block_y,
         s.block_z,       s.shared_bytes, has_argument ? node.parameters : nullptr,
         nullptr};
}

}  // namespace

// --- kernels

CUresult cuGraphAddKernelNode(CUgraphNode* out, CUgraph graph, const CUgraphNode* dependencies, size_t count,
                              const CUDA_KERNEL_NODE_PARAMS_v1* p) {
  return add_kind<KernelOperation>(out, graph, dependencies, count,
                                   [&](auto& own) { return make_kernel(p, nullptr, nullptr, own); });
}
CUresult cuGraphAddKernelNode_v2(CUgraphNode* out, CUgraph graph, const CUgraphNode* dependencies,
                                 size_t count, const CUDA_KERNEL_NODE_PARAMS* p) {
  return add_kind<KernelOperation>(out, graph, dependencies, count,
                                   [&](auto& own) { return make_kernel(p, own); });
}
CUresult cuGraphKernelNodeGetParams(CUgraphNode handle, CUDA_KERNEL_NODE_PARAMS_v1* out) {
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return with<KernelOperation>(handle, [&](KernelOperation& kernel, Node& node) {
    describe(kernel, node, *out);
    return CUDA_SUCCESS;
  });
}
CUresult cuGraphKernelNodeGetParams_v2(CUgraphNode handle, CUDA_KERNEL_NODE_PARAMS* out) {
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return with<KernelOperation>(handle, [&](KernelOperation& kernel, Node& node) {
    describe(kernel, node, out->launch);
    out->kernel = nullptr;
    out->context = reinterpret_cast<CUcontext>(kernel.context);
    return CUDA_SUCCESS;
  });
}
CUresult cuGraphKernelNodeSetParams(CUgraphNode node, const CUDA_KERNEL_NODE_PARAMS_v1* p) {
  return set_kind<KernelOperation>(node, [&](auto& own) { return make_kernel(p, nullptr, nullptr, own); });
}
CUresult cuGraphKernelNodeSetParams_v2(CUgraphNode node, const CUDA_KERNEL_NODE_PARAMS* p) {
  return set_kind<KernelOperation>(node, [&](auto& own) { return make_kernel(p, own); });
}
CUresult cuGraphExecKernelNodeSetParams(CUgraphExec exec, CUgraphNode node,
                                        const CUDA_KERNEL_NODE_PARAMS_v1* p) {
  return set_exec_kind<KernelOperation>(exec, node,
                                        [&](auto& own) { return make_kernel(p, nullptr, nullptr, own); });
}
CUresult cuGraphExecKernelNodeSetParams_v2(CUgraphExec exec, CUgraphNode node,
                                           const CUDA_KERNEL_NODE_PARAMS* p) {
  return set_exec_kind<KernelOperation>(exec, node, [&](auto& own) { return make_kernel(p, own); });
}

// --- copies and fills

CUresult cuGraphAddMemcpyNode(CUgraphNode* out, CUgraph graph, const CUgraphNode* dependencies, size_t count,
                              const CUDA_MEMCPY3D* p, CUcontext) {
  return add_kind<CopyOperation>(out, graph, dependencies, count,
                                 [&](auto& own) { return make_copy(p, own); });
}
CUresult cuGraphMemcpyNodeGetParams(CUgraphNode handle, CUDA_MEMCPY3D* out) {
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return with<CopyOperation>(handle, [&](const CopyOperation& own, Node&) {
    *out = own.copy;
    return CUDA_SUCCESS;
  });
}
CUresult cuGraphMemcpyNodeSetParams(CUgraphNode node, const CUDA_MEMCPY3D* p) {
  return set_kind<CopyOperation>(node, [&](auto& own) { return make_copy(p, own); });
}
CUresult cuGraphExecMemcpyNodeSetParams(CUgraphExec exec, CUgraphNode node, const CUDA_MEMCPY3D* p,
                                        CUcontext) {
  return set_exec_kind<CopyOperation>(exec, node, [&](auto& own) { return make_copy(p, own); });
}
CUresult cuGraphAddMemsetNode(CUgraphNode* out, CUgraph graph, const CUgraphNode* dependencies, size_t count,
                              const CUDA_MEMSET_NODE_PARAMS* p, CUcontext) {
  return add_kind<FillOperation>(out, graph, dependencies, count,
                                 [&](auto& own) { return make_fill(p, own); });
}
CUresult cuGraphMemsetNodeGetParams(CUgraphNode handle, CUDA_MEMSET_NODE_PARAMS* out) {
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return with<FillOperation>(handle, [&](const FillOperation& own, Node&) {
    *out = own.fill;
    return CUDA_SUCCESS;
  });
}
CUresult cuGraphMemsetNodeSetParams(CUgraphNode node, const CUDA_MEMSET_NODE_PARAMS* p) {
  return set_kind<FillOperation>(node, [&](auto& own) { return make_fill(p, own); });
}
CUresult cuGraphExecMemsetNodeSetParams(CUgraphExec exec, CUgraphNode node, const CUDA_MEMSET_NODE_PARAMS* p,
                                        CUcontext) {
  return set_exec_kind<FillOperation>(exec, node, [&](auto& own) { return make_fill(p, own); });
}

// --- host functions, empty nodes, child graphs

CUresult cuGraphAddHostNode(CUgraphNode* out, CUgraph graph, const CUgraphNode* dependencies, size_t count,
                            const CUDA_HOST_NODE_PARAMS* p) {
  return add_kind<HostOperation>(out, graph, dependencies, count,
                                 [&](auto& own) { return make_host(p, own); });
}
CUresult cuGraphHostNodeGetParams(CUgraphNode handle, CUDA_HOST_NODE_PARAMS* out) {
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return with<HostOperation>(handle, [&](const HostOperation& own, Node&) {
    *out = own.call;
    return CUDA_SUCCESS;
  });
}
CUresult cuGraphHostNodeSetParams(CUgraphNode node, const CUDA_HOST_NODE_PARAMS* p) {
  return set_kind<HostOperation>(node, [&](auto& own) { return make_host(p, own); });
}
CUresult cuGraphExecHostNodeSetParams(CUgraphExec exec, CUgraphNode node, const CUDA_HOST_NODE_PARAMS* p) {
  return set_exec_kind<HostOperation>(exec, node, [&](auto& own) { return make_host(p, own); });
}
CUresult cuGraphAddEmptyNode(CUgraphNode* out, CUgraph graph, const CUgraphNode* dependencies, size_t count) {
  TW_DRIVER(driver);
  return add(out, graph, dependencies, count, EmptyOperation{});
}
CUresult cuGraphAddChildGraphNode(CUgraphNode* out, CUgraph graph, const CUgraphNode* dependencies,
                                  size_t count, CUgraph child) {
  return add_kind<ChildOperation>(out, graph, dependencies, count,
                                  [&](auto& own) { return make_child(child, own); });
}
CUresult cuGraphChildGraphNodeGetGraph(CUgraphNode handle, CUgraph* out) {
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return with<ChildOperation>(handle, [&](const ChildOperation& own, Node&) {
    *out = handle_of(own.graph.get());
    return CUDA_SUCCESS;
  });
}

// --- events

CUresult cuGraphAddEventRecordNode(CUgraphNode* out, CUgraph graph, const CUgraphNode* dependencies,
                                   size_t count, CUevent event) {
  return add_kind<EventRecordOperation>(out, graph, dependencies, count,
                                        [&](auto& own) { return make_event(event, own); });
}
CUresult cuGraphAddEventWaitNode(CUgraphNode* out, CUgraph graph, const CUgraphNode* dependencies,
                                 size_t count, CUevent event) {
  return add_kind<EventWaitOperation>(out, graph, dependencies, count,
                                      [&](auto& own) { return make_event(event, own); });
}
CUresult cuGraphEventRecordNodeGetEvent(CUgraphNode handle, CUevent* out) {
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return with<EventRecordOperation>(handle, [&](const EventRecordOperation& own, Node&) {
    *out = reinterpret_cast<CUevent>(own.event);
    return CUDA_SUCCESS;
  });
}
CUresult cuGraphEventWaitNodeGetEvent(CUgraphNode handle, CUevent* out) {
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return with<EventWaitOperation>(handle, [&](const EventWaitOperation& own, Node&) {
    *out = reinterpret_cast<CUevent>(own.event);
    return CUDA_SUCCESS;
  });
}
CUresult cuGraphEventRecordNodeSetEvent(CUgraphNode node, CUevent event) {
  return set_kind<EventRecordOperation>(node, [&](auto& own) { return make_event(event, own); });
}
CUresult cuGraphEventWaitNodeSetEvent(CUgraphNode node, CUevent event) {
  return set_kind<EventWaitOperation>(node, [&](auto& own) { return make_event(event, own); });
}
CUresult cuGraphExecEventRecordNodeSetEvent(CUgraphExec exec, CUgraphNode node, CUevent event) {
  return set_exec_kind<EventRecordOperation>(exec, node, [&](auto& own) { return make_event(event, own); });
}
CUresult cuGraphExecEventWaitNodeSetEvent(CUgraphExec exec, CUgraphNode node, CUevent event) {
  return set_exec_kind<EventWaitOperation>(exec, node, [&](auto& own) { return make_event(event, own); });
}

// --- memory

CUresult cuGraphAddMemAllocNode(CUgraphNode* out, CUgraph graph, const CUgraphNode* dependencies,
                                size_t count, CUDA_MEM_ALLOC_NODE_PARAMS* p) {
  AllocOperation operation;
  if (CUresult error = make_alloc(p, operation); error != CUDA_SUCCESS) return error;
  p->address = operation.allocation->address;
  return add(out, graph, dependencies, count, operation);
}
CUresult cuGraphMemAllocNodeGetParams(CUgraphNode handle, CUDA_MEM_ALLOC_NODE_PARAMS* out) {
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return with<AllocOperation>(handle, [&](const AllocOperation& own, Node&) {
    describe_alloc(own, *out);
    return CUDA_SUCCESS;
  });
}
CUresult cuGraphAddMemFreeNode(CUgraphNode* out, CUgraph graph, const CUgraphNode* dependencies, size_t count,
                               CUdeviceptr address) {
  if (CUresult error = check_freeable(address); error != CUDA_SUCCESS) return error;
  return add(out, graph, dependencies, count, FreeOperation{address});
}
CUresult cuGraphMemFreeNodeGetParams(CUgraphNode handle, CUdeviceptr* out) {
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return with<FreeOperation>(handle, [&](const FreeOperation& own, Node&) {
    *out = own.address;
    return CUDA_SUCCESS;
  });
}

// --- any kind

CUresult cuGraphAddNode(CUgraphNode* out, CUgraph graph, const CUgraphNode* dependencies, size_t count,
                        CUgraphNodeParams* p) {
  Operation operation;
  if (CUresult error = make_any(p, operation); error != CUDA_SUCCESS) return error;
  const CUresult result = add(out, graph, dependencies, count, operation);
  if (result != CUDA_SUCCESS) return result;
  if (p->type == kNodeGraph) p->child.graph = handle_of(std::get<ChildOperation>(operation).graph.get());
  if (p->type == kNodeMemAlloc) p->alloc.address = std::get<AllocOperation>(operation).allocation->address;
  return result;
}
CUresult cuGraphAddNode_v2(CUgraphNode* out, CUgraph graph, const CUgraphNode* dependencies,
                           const CUgraphEdgeData*, size_t count, CUgraphNodeParams* p) {
  return cuGraphAddNode(out, graph, dependencies, count, p);
}
CUresult cuGraphNodeSetParams(CUgraphNode handle, CUgraphNodeParams* p) {
  Operation operation;
  if (CUresult error = make_any(p, operation); error != CUDA_SUCCESS) return error;
  std::lock_guard guard(Graphs::get().mutex);
  Node* node = Graphs::get().find(handle);
  const bool fits = node != nullptr && node->operation.index() == operation.index();
  if (!fits || p->type == kNodeGraph || p->type == kNodeMemAlloc) return CUDA_ERROR_INVALID_VALUE;
  node->operation = std::move(operation);
  return CUDA_SUCCESS;
}
CUresult cuGraphExecNodeSetParams(CUgraphExec exec, CUgraphNode node, CUgraphNodeParams* p) {
  Operation operation;
  if (CUresult error = make_any(p, operation); error != CUDA_SUCCESS) return error;
  return set_exec_operation(exec, node, operation);
}

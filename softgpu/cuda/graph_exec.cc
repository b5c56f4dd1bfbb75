// Executable graphs: made, launched, updated.
#include <algorithm>

#include "softgpu/cuda/api.h"
#include "softgpu/cuda/capture.h"
#include "softgpu/cuda/driver.h"
#include "softgpu/cuda/forms.h"
#include "softgpu/cuda/graph.h"
#include "softgpu/cuda/graph_memory.h"

using namespace tweendeck::softgpu;

namespace tweendeck::softgpu {
namespace {

// The graph's nodes so that each comes after those it depends on, otherwise in order of creation; fewer than
// all when there is a cycle.
std::vector<const Node*> topological_order(const Graph& graph) {
  std::unordered_map<const Node*, size_t> missing;
  std::vector<const Node*> order;
  for (const auto& node : graph.nodes) {
    missing[node.get()] = node->dependencies.size();
    if (node->dependencies.empty()) order.push_back(node.get());
  }
  for (size_t i = 0; i < order.size(); ++i) {
    for (const Node* dependent : order[i]->dependents) {
      if (--missing[dependent] == 0) order.push_back(dependent);
    }
  }
  return order;
}

}  // namespace

CUresult flatten(const Graph& graph, GraphExec& exec) {
  const auto order = topological_order(graph);
  if (order.size() != graph.nodes.size()) return CUDA_ERROR_INVALID_VALUE;
  std::unordered_map<const Node*, size_t> position;
  for (const Node* node : order) {
    exec.shape.push_back(static_cast<size_t>(node_type(node->operation)));
    exec.shape.push_back(node->dependencies.size());
    for (const Node* dependency : node->dependencies) exec.shape.push_back(position[dependency]);
    const size_t own = position.size();
    position[node] = own;
    if (const auto* child = std::get_if<ChildOperation>(&node->operation)) {
      if (CUresult error = flatten(*child->graph, exec); error != CUDA_SUCCESS) return error;
      continue;
    }
    if (const auto* kernel = std::get_if<KernelOperation>(&node->operation)) {
      if (exec.context != nullptr && exec.context != kernel->context) return CUDA_ERROR_NOT_SUPPORTED;
      exec.context = kernel->context;
    }
    exec.nodes.push_back({node, node->operation, true});
  }
  return CUDA_SUCCESS;
}

void sum_up(GraphExec& exec) {
  exec.duration_ns = 0;
  exec.sms = 0;
  exec.kernels = 0;
  for (const ExecNode& node : exec.nodes) {
    const auto* kernel = std::get_if<KernelOperation>(&node.operation);
    if (kernel == nullptr || !node.enabled) continue;
    exec.duration_ns += kernel->duration_ns;
    exec.sms = std::max(exec.sms, kernel->sms);
    ++exec.kernels;
  }
}

CUresult launch_graph(GraphExec& exec, Stream& stream) {
  std::lock_guard guard(exec.mutex);
  if (exec.context != nullptr && exec.context->device != stream.context->device)
    return CUDA_ERROR_INVALID_VALUE;
  const bool again = (exec.flags & kInstantiateAutoFree) != 0;
  for (const ExecNode& node : exec.nodes) {
    const auto* memory = std::get_if<AllocOperation>(&node.operation);
    if (memory == nullptr) continue;
    if (CUresult error = allocate(memory->allocation, again); error != CUDA_SUCCESS) return error;
  }
  for (const ExecNode& node : exec.nodes) {
    if (!std::holds_alternative<EventWaitOperation>(node.operation)) continue;
    if (CUresult error = run_now(stream, node.operation); error != CUDA_SUCCESS) return error;
  }
  if (exec.kernels > 0) {
    if (CUresult error = enqueue(stream, exec.duration_ns, exec.sms); error != CUDA_SUCCESS) return error;
  }
  for (const ExecNode& node : exec.nodes) {
    const bool is_done = std::holds_alternative<EventWaitOperation>(node.operation) ||
                         std::holds_alternative<KernelOperation>(node.operation);
    if (is_done || !node.enabled) continue;
    if (CUresult error = run_now(stream, node.operation); error != CUDA_SUCCESS) return error;
  }
  return CUDA_SUCCESS;
}

}  // namespace tweendeck::softgpu

namespace {

std::shared_ptr<GraphExec> find_exec(CUgraphExec handle) {
  Graphs& graphs = Graphs::get();
  std::lock_guard guard(graphs.mutex);
  const auto found = graphs.execs.find(handle);
  return found == graphs.execs.end() ? nullptr : found->second;
}

CUresult instantiate(CUgraphExec* out, CUgraph handle, uint64_t flags) {
  TW_DRIVER(driver);
  constexpr uint64_t kKnown =
      kInstantiateAutoFree | kInstantiateUpload | kInstantiateDeviceLaunch | kInstantiateNodePriority;
  if (out == nullptr || (flags & ~kKnown) != 0) return CUDA_ERROR_INVALID_VALUE;
  if ((flags & kInstantiateDeviceLaunch) != 0) return CUDA_ERROR_NOT_SUPPORTED;  // no device runs code here
  Graphs& graphs = Graphs::get();
  std::lock_guard guard(graphs.mutex);
  const Graph* graph = graphs.find(handle);
  if (graph == nullptr) return CUDA_ERROR_INVALID_VALUE;
  auto exec = std::make_shared<GraphExec>();
  if (CUresult error = flatten(*graph, *exec); error != CUDA_SUCCESS) return error;
  exec->id = graphs.next_id++;
  exec->flags = flags;
  sum_up(*exec);
  *out = reinterpret_cast<CUgraphExec>(exec.get());
  graphs.execs.emplace(exec.get(), std::move(exec));
  return CUDA_SUCCESS;
}

CUresult instantiate_with(CUgraphExec* out, CUgraph graph, CUDA_GRAPH_INSTANTIATE_PARAMS* parameters) {
  if (parameters == nullptr) return CUDA_ERROR_INVALID_VALUE;
  const CUresult error = instantiate(out, graph, parameters->flags);
  parameters->error_node = nullptr;
  parameters->result = error == CUDA_SUCCESS               ? kInstantiateSuccess
                       : error == CUDA_ERROR_NOT_SUPPORTED ? kInstantiateMultipleContexts
                                                           : kInstantiateError;
  return error;
}

// In a capture a launch becomes a child graph: a chain of what the executable graph holds now.
ChildOperation as_child(GraphExec& exec) {
  Graphs& graphs = Graphs::get();
  std::lock_guard guard(graphs.mutex);
  std::lock_guard exec_guard(exec.mutex);
  ChildOperation child{std::make_shared<Graph>()};
  std::vector<Node*> previous;
  for (const ExecNode& node : exec.nodes) {
    if (node.enabled) previous = {add_node(*child.graph, node.operation, previous)};
  }
  return child;
}

CUresult launch(CUgraphExec handle, CUstream stream_handle, bool per_thread) {
  TW_DRIVER(driver);
  const auto exec = find_exec(handle);
  if (exec == nullptr) return CUDA_ERROR_INVALID_VALUE;
  Stream* stream = nullptr;
  if (CUresult error = resolve_stream(stream_handle, per_thread, stream); error != CUDA_SUCCESS) return error;
  return is_capturing(*stream) ? capture_operation(*stream, as_child(*exec)) : launch_graph(*exec, *stream);
}

// Nothing is prepared ahead of a launch, so an upload only checks its arguments.
CUresult upload(CUgraphExec handle, CUstream stream_handle, bool per_thread) {
  TW_DRIVER(driver);
  Stream* stream = nullptr;
  if (find_exec(handle) == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return resolve_stream(stream_handle, per_thread, stream);
}

CUresult update(CUgraphExec handle, CUgraph graph_handle, CUgraphExecUpdateResultInfo& info) {
  TW_DRIVER(driver);
  const auto exec = find_exec(handle);
  info = {kUpdateError, nullptr, nullptr};
  if (exec == nullptr) return CUDA_ERROR_INVALID_VALUE;
  Graphs& graphs = Graphs::get();
  std::lock_guard guard(graphs.mutex);
  const Graph* graph = graphs.find(graph_handle);
  if (graph == nullptr) return CUDA_ERROR_INVALID_VALUE;
  GraphExec fresh;
  if (CUresult error = flatten(*graph, fresh); error != CUDA_SUCCESS) return error;
  std::lock_guard exec_guard(exec->mutex);
  if (fresh.nodes.size() != exec->nodes.size()) {
    info.result = kUpdateTopologyChanged;
    return CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE;
  }
  for (size_t i = 0; i < fresh.nodes.size(); ++i) {
    if (fresh.nodes[i].operation.index() == exec->nodes[i].operation.index()) continue;
    info = {kUpdateNodeTypeChanged, handle_of(const_cast<Node*>(fresh.nodes[i].source)), nullptr};
    return CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE;
  }
  if (fresh.shape != exec->shape || (fresh.context != nullptr && fresh.context != exec->context)) {
    info.result = kUpdateTopologyChanged;
    return CUDA_ERROR_GRAPH_EXEC_UPDATE_FAILURE;
  }
  for (size_t i = 0; i < fresh.nodes.size(); ++i) exec->nodes[i].operation = fresh.nodes[i].operation;
  sum_up(*exec);
  info.result = kUpdateSuccess;
  return CUDA_SUCCESS;
}

// The node of an executable graph that was made of `node`, with `exec` locked.
template <class Change>
CUresult with_node(CUgraphExec handle, CUgraphNode node, Change change) {
  TW_DRIVER(driver);
  const auto exec = find_exec(handle);
  if (exec == nullptr) return CUDA_ERROR_INVALID_VALUE;
  std::lock_guard guard(exec->mutex);
  const auto found = std::ranges::find(exec->nodes, static_cast<const void*>(node), [](const ExecNode& own) {
    return static_cast<const void*>(own.source);
  });
  if (found == exec->nodes.end()) return CUDA_ERROR_INVALID_VALUE;
  const CUresult result = change(*found);
  sum_up(*exec);
  return result;
}

bool can_be_disabled(const Operation& operation) {
  return std::holds_alternative<KernelOperation>(operation) ||
         std::holds_alternative<CopyOperation>(operation) || std::holds_alternative<FillOperation>(operation);
}

}  // namespace

namespace tweendeck::softgpu {

CUresult set_exec_operation(CUgraphExec exec, CUgraphNode node, const Operation& operation) {
  return with_node(exec, node, [&](ExecNode& own) {
    if (own.operation.index() != operation.index()) return CUDA_ERROR_INVALID_VALUE;
    const auto* before = std::get_if<KernelOperation>(&own.operation);
    const auto* after = std::get_if<KernelOperation>(&operation);
    if (before != nullptr && before->context != after->context) return CUDA_ERROR_INVALID_VALUE;
    own.operation = operation;
    return CUDA_SUCCESS;
  });
}

}  // namespace tweendeck::softgpu

CUresult cuGraphInstantiate(CUgraphExec* out, CUgraph graph, CUgraphNode* error_node, char* log,
                            size_t bytes) {
  return cuGraphInstantiate_v2(out, graph, error_node, log, bytes);
}
CUresult cuGraphInstantiate_v2(CUgraphExec* out, CUgraph graph, CUgraphNode* error_node, char* log,
                               size_t bytes) {
  if (error_node != nullptr) *error_node = nullptr;
  if (log != nullptr && bytes > 0) *log = 0;
  return instantiate(out, graph, 0);
}
CUresult cuGraphInstantiateWithFlags(CUgraphExec* out, CUgraph graph, unsigned long long flags) {
  return instantiate(out, graph, flags);
}
TW_TWO_FORMS(cuGraphInstantiateWithParams, _ptsz,
             (CUgraphExec * out, CUgraph graph, CUDA_GRAPH_INSTANTIATE_PARAMS* parameters),
             instantiate_with(out, graph, parameters))
TW_TWO_FORMS(cuGraphLaunch, _ptsz, (CUgraphExec exec, CUstream stream), launch(exec, stream, kPerThread))
TW_TWO_FORMS(cuGraphUpload, _ptsz, (CUgraphExec exec, CUstream stream), upload(exec, stream, kPerThread))

CUresult cuGraphExecDestroy(CUgraphExec handle) {
  TW_DRIVER(driver);
  Graphs& graphs = Graphs::get();
  std::lock_guard guard(graphs.mutex);
  return graphs.execs.erase(handle) == 1 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
}

CUresult cuGraphExecGetFlags(CUgraphExec handle, uint64_t* flags) {
  const auto exec = find_exec(handle);
  if (exec == nullptr || flags == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *flags = exec->flags;
  return CUDA_SUCCESS;
}

CUresult cuGraphExecGetId(CUgraphExec handle, unsigned* id) {
  const auto exec = find_exec(handle);
  if (exec == nullptr || id == nullptr) return CUDA_ERROR_INVALID_VALUE;
  *id = exec->id;
  return CUDA_SUCCESS;
}

CUresult cuGraphExecUpdate(CUgraphExec exec, CUgraph graph, CUgraphNode* error_node,
                           CUgraphExecUpdateResult* result) {
  CUgraphExecUpdateResultInfo info{};
  const CUresult error = update(exec, graph, info);
  if (error_node != nullptr) *error_node = info.error_node;
  if (result != nullptr) *result = info.result;
  return error;
}
CUresult cuGraphExecUpdate_v2(CUgraphExec exec, CUgraph graph, CUgraphExecUpdateResultInfo* info) {
  return info == nullptr ? CUDA_ERROR_INVALID_VALUE : update(exec, graph, *info);
}

CUresult cuGraphNodeSetEnabled(CUgraphExec exec, CUgraphNode node, unsigned enabled) {
  return with_node(exec, node, [&](ExecNode& own) {
    if (!can_be_disabled(own.operation)) return CUDA_ERROR_INVALID_VALUE;
    own.enabled = enabled != 0;
    return CUDA_SUCCESS;
  });
}
CUresult cuGraphNodeGetEnabled(CUgraphExec exec, CUgraphNode node, unsigned* enabled) {
  if (enabled == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return with_node(exec, node, [&](ExecNode& own) {
    if (!can_be_disabled(own.operation)) return CUDA_ERROR_INVALID_VALUE;
    *enabled = own.enabled ? 1 : 0;
    return CUDA_SUCCESS;
  });
}

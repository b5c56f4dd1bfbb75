// Graphs as calls: making, cloning, taking apart, and asking about nodes and edges.
#include <algorithm>

#include "softgpu/cuda/api.h"
#include "softgpu/cuda/capture.h"
#include "softgpu/cuda/driver.h"
#include "softgpu/cuda/graph.h"

using namespace tweendeck::softgpu;

namespace {

// A list as the API gives it: `out` null asks for the number only; what is left of a longer array is nulled.
template <class List>
CUresult give_nodes(const List& nodes, CUgraphNode* out, size_t* count) {
  if (count == nullptr) return CUDA_ERROR_INVALID_VALUE;
  if (out != nullptr) {
    for (size_t i = 0; i < *count; ++i) out[i] = i < nodes.size() ? handle_of(&*nodes[i]) : nullptr;
    *count = std::min(*count, nodes.size());
  } else {
    *count = nodes.size();
  }
  return CUDA_SUCCESS;
}

template <class Handle, class Use>
CUresult with(Handle handle, Use use) {
  TW_DRIVER(driver);
  Graphs& graphs = Graphs::get();
  std::lock_guard guard(graphs.mutex);
  auto* found = graphs.find(handle);
  return found == nullptr ? CUDA_ERROR_INVALID_VALUE : use(*found);
}

template <class T, class Read>
CUresult describe(CUgraphNode handle, T* out, Read read) {
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return with(handle, [&](const Node& node) {
    *out = read(node);
    return CUDA_SUCCESS;
  });
}

void clear_edges(CUgraphEdgeData* edges, const size_t* count) {
  if (edges == nullptr || count == nullptr) return;
  std::fill_n(edges, *count, CUgraphEdgeData{});
}

template <class Change>
CUresult change_edges(CUgraph handle, const CUgraphNode* from, const CUgraphNode* to, size_t count,
                      Change change) {
  return with(handle, [&](const Graph& graph) {
    if (count > 0 && (from == nullptr || to == nullptr)) return CUDA_ERROR_INVALID_VALUE;
    std::vector<std::pair<Node*, Node*>> edges;
    for (size_t i = 0; i < count; ++i) {
      Node* source = Graphs::get().find(from[i]);
      Node* target = Graphs::get().find(to[i]);
      if (source == nullptr || target == nullptr || source == target || source->graph != &graph ||
          target->graph != &graph) {
        return CUDA_ERROR_INVALID_VALUE;
      }
      edges.emplace_back(source, target);
    }
    for (const auto& [source, target] : edges) {
      if (!change(*source, *target)) return CUDA_ERROR_INVALID_VALUE;
    }
    return CUDA_SUCCESS;
  });
}

bool is_new_edge(Node& from, Node& to) {
  if (std::ranges::find(to.dependencies, &from) != to.dependencies.end()) return false;
  add_edge(from, to);
  return true;
}

CUresult get_edges(CUgraph handle, CUgraphNode* from, CUgraphNode* to, size_t* count) {
  return with(handle, [&](const Graph& graph) {
    std::vector<Node*> sources;
    std::vector<Node*> targets;
    for (const auto& node : graph.nodes) {
      for (Node* dependency : node->dependencies) {
        sources.push_back(dependency);
        targets.push_back(node.get());
      }
    }
    if (count == nullptr || (from == nullptr) != (to == nullptr)) return CUDA_ERROR_INVALID_VALUE;
    size_t room = *count;
    give_nodes(sources, from, &room);
    return give_nodes(targets, to, count);
  });
}

CUresult get_dependencies(CUgraphNode handle, CUgraphNode* out, size_t* count) {
  return with(handle, [&](const Node& node) { return give_nodes(node.dependencies, out, count); });
}
CUresult get_dependents(CUgraphNode handle, CUgraphNode* out, size_t* count) {
  return with(handle, [&](const Node& node) { return give_nodes(node.dependents, out, count); });
}

}  // namespace

CUresult cuGraphCreate(CUgraph* out, unsigned flags) {
  TW_DRIVER(driver);
  if (out == nullptr || flags != 0) return CUDA_ERROR_INVALID_VALUE;
  Graphs& graphs = Graphs::get();
  std::lock_guard guard(graphs.mutex);
  auto graph = std::make_unique<Graph>();
  *out = handle_of(graph.get());
  graphs.graphs.emplace(graph.get(), std::move(graph));
  return CUDA_SUCCESS;
}

CUresult cuGraphDestroy(CUgraph handle) {
  return with(handle, [&](const Graph& graph) {
    if (is_captured_into(graph)) return CUDA_ERROR_INVALID_VALUE;
    // A child's graph belongs to its node.
    return Graphs::get().graphs.erase(handle) == 1 ? CUDA_SUCCESS : CUDA_ERROR_INVALID_VALUE;
  });
}

CUresult cuGraphClone(CUgraph* out, CUgraph original) {
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return with(original, [&](const Graph& graph) {
    auto copy = clone_graph(graph);
    *out = handle_of(copy.get());
    Graphs::get().graphs.emplace(copy.get(), std::move(copy));
    return CUDA_SUCCESS;
  });
}

CUresult cuGraphNodeFindInClone(CUgraphNode* out, CUgraphNode original, CUgraph clone) {
  if (out == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return with(clone, [&](const Graph& graph) {
    const auto found =
        std::ranges::find(graph.nodes, static_cast<const void*>(original),
                          [](const auto& node) { return static_cast<const void*>(node->cloned_from); });
    if (found == graph.nodes.end()) return CUDA_ERROR_INVALID_VALUE;
    *out = handle_of(found->get());
    return CUDA_SUCCESS;
  });
}

CUresult cuGraphDestroyNode(CUgraphNode handle) {
  return with(handle, [&](Node& node) {
    if (is_captured_into(*node.graph)) return CUDA_ERROR_INVALID_VALUE;
    remove_node(node);
    return CUDA_SUCCESS;
  });
}

CUresult cuGraphGetNodes(CUgraph handle, CUgraphNode* nodes, size_t* count) {
  return with(handle, [&](const Graph& graph) { return give_nodes(graph.nodes, nodes, count); });
}

CUresult cuGraphGetRootNodes(CUgraph handle, CUgraphNode* nodes, size_t* count) {
  return with(handle, [&](const Graph& graph) {
    std::vector<Node*> roots;
    for (const auto& node : graph.nodes) {
      if (node->dependencies.empty()) roots.push_back(node.get());
    }
    return give_nodes(roots, nodes, count);
  });
}

CUresult cuGraphGetEdges(CUgraph graph, CUgraphNode* from, CUgraphNode* to, size_t* count) {
  return get_edges(graph, from, to, count);
}
CUresult cuGraphGetEdges_v2(CUgraph graph, CUgraphNode* from, CUgraphNode* to, CUgraphEdgeData* edges,
                            size_t* count) {
  clear_edges(edges, count);
  return get_edges(graph, from, to, count);
}
CUresult cuGraphNodeGetDependencies(CUgraphNode node, CUgraphNode* out, size_t* count) {
  return get_dependencies(node, out, count);
}
CUresult cuGraphNodeGetDependencies_v2(CUgraphNode node, CUgraphNode* out, CUgraphEdgeData* edges,
                                       size_t* count) {
  clear_edges(edges, count);
  return get_dependencies(node, out, count);
}
CUresult cuGraphNodeGetDependentNodes(CUgraphNode node, CUgraphNode* out, size_t* count) {
  return get_dependents(node, out, count);
}
CUresult cuGraphNodeGetDependentNodes_v2(CUgraphNode node, CUgraphNode* out, CUgraphEdgeData* edges,
                                         size_t* count) {
  clear_edges(edges, count);
  return get_dependents(node, out, count);
}
CUresult cuGraphAddDependencies(CUgraph graph, const CUgraphNode* from, const CUgraphNode* to, size_t count) {
  return change_edges(graph, from, to, count, is_new_edge);
}
CUresult cuGraphAddDependencies_v2(CUgraph graph, const CUgraphNode* from, const CUgraphNode* to,
                                   const CUgraphEdgeData*, size_t count) {
  return change_edges(graph, from, to, count, is_new_edge);
}
CUresult cuGraphRemoveDependencies(CUgraph graph, const CUgraphNode* from, const CUgraphNode* to,
                                   size_t count) {
  return change_edges(graph, from, to, count, remove_edge);
}
CUresult cuGraphRemoveDependencies_v2(CUgraph graph, const CUgraphNode* from, const CUgraphNode* to,
                                      const CUgraphEdgeData*, size_t count) {
  return change_edges(graph, from, to, count, remove_edge);
}

CUresult cuGraphNodeGetType(CUgraphNode handle, CUgraphNodeType* type) {
  return describe(handle, type, [](const Node& node) { return node_type(node.operation); });
}
CUresult cuGraphNodeGetContainingGraph(CUgraphNode handle, CUgraph* graph) {
  return describe(handle, graph, [](const Node& node) { return handle_of(node.graph); });
}
CUresult cuGraphNodeGetLocalId(CUgraphNode handle, unsigned* id) {
  return describe(handle, id, [](const Node& node) { return node.id; });
}
CUresult cuGraphNodeGetToolsId(CUgraphNode handle, unsigned long long* id) {
  return describe(handle, id, [](const Node& node) {
    return static_cast<unsigned long long>(node.graph->id) << 32 | node.id;
  });
}
CUresult cuGraphGetId(CUgraph handle, unsigned* id) {
  if (id == nullptr) return CUDA_ERROR_INVALID_VALUE;
  return with(handle, [&](const Graph& graph) {
    *id = graph.id;
    return CUDA_SUCCESS;
  });
}

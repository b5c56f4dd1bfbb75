#include "softgpu/cuda/graph.h"

#include <algorithm>

namespace tweendeck::softgpu {

Graphs& Graphs::get() {
  static auto* graphs = new Graphs;  // never destroyed: other threads may be in a call at exit
  return *graphs;
}

Graph::Graph() {
  std::lock_guard guard(Graphs::get().mutex);
  id = Graphs::get().next_id++;
}

Graph::~Graph() {
  std::lock_guard guard(Graphs::get().mutex);
  for (const auto& node : nodes) Graphs::get().nodes.erase(node.get());
  Graphs::get().inner_graphs.erase(this);
  release_user_objects(*this);
}

Graph* Graphs::find(CUgraph handle) {
  if (!graphs.contains(handle) && !inner_graphs.contains(handle)) return nullptr;
  return reinterpret_cast<Graph*>(handle);
}

Node* Graphs::find(CUgraphNode handle) {
  return nodes.contains(handle) ? reinterpret_cast<Node*>(handle) : nullptr;
}

Node* add_node(Graph& graph, const Operation& operation, const std::vector<Node*>& dependencies) {
  Node& node = *graph.nodes.emplace_back(std::make_unique<Node>());
  node.graph = &graph;
  node.operation = operation;
  node.id = graph.next_node_id++;
  for (Node* dependency : dependencies) add_edge(*dependency, node);
  Graphs::get().nodes.insert(&node);
  if (const auto* child = std::get_if<ChildOperation>(&operation)) {
    Graphs::get().inner_graphs.insert(child->graph.get());
  }
  return &node;
}

void add_edge(Node& from, Node& to) {
  if (std::ranges::find(to.dependencies, &from) != to.dependencies.end()) return;
  to.dependencies.push_back(&from);
  from.dependents.push_back(&to);
}

bool remove_edge(Node& from, Node& to) {
  std::erase(from.dependents, &to);
  return std::erase(to.dependencies, &from) != 0;
}

void remove_node(Node& node) {
  for (Node* dependency : node.dependencies) std::erase(dependency->dependents, &node);
  for (Node* dependent : node.dependents) std::erase(dependent->dependencies, &node);
  Graphs::get().nodes.erase(&node);
  std::erase_if(node.graph->nodes, [&](const auto& own) { return own.get() == &node; });
}

std::unique_ptr<Graph> clone_graph(const Graph& graph) {
  auto copy = std::make_unique<Graph>();
  std::unordered_map<const Node*, Node*> twins;
  for (const auto& node : graph.nodes) {
    Operation operation = node->operation;
    if (auto* child = std::get_if<ChildOperation>(&operation)) child->graph = clone_graph(*child->graph);
    Node* twin = add_node(*copy, operation, {});
    twin->cloned_from = node.get();
    twins[node.get()] = twin;
  }
  for (const auto& node : graph.nodes) {
    for (Node* dependency : node->dependencies) add_edge(*twins[dependency], *twins[node.get()]);
  }
  share_user_objects(graph, *copy);
  return copy;
}

}  // namespace tweendeck::softgpu

// Graphs and what is made of them. A graph is a description; an executable graph (GraphExec) is a flat list
// of the operations of one, in an order that its edges allow, with child graphs in place.
//
// Launched, an executable graph occupies its card as one unit: the sum of its kernels. Its bytes move at the
// call, its events and host functions belong to the end of the unit. Threads: graphs, nodes and captures are
// guarded by Graphs::mutex; a GraphExec has its own.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "softgpu/cuda/operation.h"

namespace tweendeck::softgpu {

struct Node {
  Graph* graph = nullptr;
  Operation operation;
  std::vector<Node*> dependencies;
  std::vector<Node*> dependents;
  const Node* cloned_from = nullptr;  // a handle only: the original may be gone
  unsigned id = 0;                    // within its graph
  void* parameters[1] = {};           // what cuGraphKernelNodeGetParams points at
};

struct UserObject;

struct Graph {
  unsigned id = 0;
  unsigned next_node_id = 0;
  std::vector<std::unique_ptr<Node>> nodes;      // in the order of their creation
  std::map<UserObject*, unsigned> user_objects;  // references that this graph holds

  Graph();
  ~Graph();
  Graph(const Graph&) = delete;
  Graph& operator=(const Graph&) = delete;
};

struct ExecNode {
  const Node* source = nullptr;  // node of the graph it was instantiated from
  Operation operation;
  bool enabled = true;
};

struct GraphExec {
  std::mutex mutex;
  unsigned id = 0;
  uint64_t flags = 0;
  Context* context = nullptr;  // of its kernels; null: it has none
  std::vector<ExecNode> nodes;
  std::vector<size_t> shape;  // types and edges, for comparing topologies
  uint64_t duration_ns = 0;   // of the enabled kernels
  uint32_t sms = 0;           // of the largest of them
  size_t kernels = 0;
};

// All graphs of the process. Handles are checked against it, so that a destroyed one is an error code.
struct Graphs {
  static Graphs& get();

  std::recursive_mutex mutex;  // a graph that goes takes its child graphs along
  std::unordered_map<const void*, std::unique_ptr<Graph>> graphs;  // those that callers own
  std::unordered_set<const void*> inner_graphs;                    // of child nodes
  std::unordered_set<const void*> nodes;
  std::unordered_map<const void*, std::shared_ptr<GraphExec>> execs;
  unsigned next_id = 1;

  // All below: the mutex is held. nullptr: no such handle.
  Graph* find(CUgraph handle);
  Node* find(CUgraphNode handle);
};

inline CUgraph handle_of(Graph* graph) {
  return reinterpret_cast<CUgraph>(graph);
}
inline CUgraphNode handle_of(Node* node) {
  return reinterpret_cast<CUgraphNode>(node);
}

// Graphs::mutex is held.
Node* add_node(Graph& graph, const Operation& operation, const std::vector<Node*>& dependencies);
void add_edge(Node& from, Node& to);
bool remove_edge(Node& from, Node& to);
void remove_node(Node& node);
std::unique_ptr<Graph> clone_graph(const Graph& graph);

// graph_exec.cc. `flatten` fails on a cycle and on kernels of more than one context; Graphs::mutex is held.
CUresult flatten(const Graph& graph, GraphExec& exec);
void sum_up(GraphExec& exec);  // after its nodes have changed
CUresult launch_graph(GraphExec& exec, Stream& stream);
CUresult set_exec_operation(CUgraphExec exec, CUgraphNode node, const Operation& operation);

// graph_object.cc: user objects live as long as someone holds a reference.
void release_user_objects(Graph& graph);
void share_user_objects(const Graph& from, Graph& to);

}  // namespace tweendeck::softgpu

#include "app/bench/families.h"

#include <algorithm>
#include <map>

namespace tweendeck::bench {
namespace {

constexpr size_t kRoot = 0;

// The prompts' full blocks as a tree; a node is a prefix.
class PrefixTree {
 public:
  // The nodes from the root to the end of the request's prompt.
  std::vector<size_t> add(const TraceRequest& request) {
    size_t full_blocks = std::min<size_t>(request.input_tokens / kTraceBlockTokens, request.hash_ids.size());
    std::vector<size_t> path{kRoot};
    for (size_t i = 0; i < full_blocks; ++i) path.push_back(child(path.back(), request.hash_ids[i]));
    for (size_t node : path) ++nodes_[node].requests;
    return path;
  }
  size_t requests(size_t node) const { return nodes_[node].requests; }
  bool forks(size_t node) const { return nodes_[node].children.size() > 1; }

 private:
  struct Node {
    size_t requests = 0;
    std::map<uint64_t, size_t> children;
  };

  size_t child(size_t node, uint64_t block) {
    auto [at, is_new] = nodes_[node].children.emplace(block, nodes_.size());
    size_t found = at->second;
    if (is_new) nodes_.emplace_back();
    return found;
  }

  std::vector<Node> nodes_ = std::vector<Node>(1);
};

}  // namespace

std::vector<size_t> families_of(const std::vector<TraceRequest>& trace, size_t parts) {
  PrefixTree tree;
  std::vector<std::vector<size_t>> paths;
  paths.reserve(trace.size());
  for (const TraceRequest& request : trace) paths.push_back(tree.add(request));
  const size_t fair_share = trace.size() / std::max<size_t>(parts, 1);
  std::vector<size_t> families;
  families.reserve(trace.size());
  for (const std::vector<size_t>& path : paths) {
    size_t family = kRoot;
    for (size_t depth = 0; depth + 1 < path.size(); ++depth) {
      bool is_too_large = family == kRoot || tree.requests(family) > fair_share;
      if (tree.forks(path[depth]) && is_too_large) family = path[depth + 1];
    }
    families.push_back(family);
  }
  return families;
}

}  // namespace tweendeck::bench

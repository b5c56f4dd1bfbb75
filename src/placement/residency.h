// On which nodes how much of a model's weights lies already: what lets a claim for that model start sooner there.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/result.h"
#include "placement/cluster/cluster.h"

namespace tweendeck::placement {

inline constexpr size_t kMaxResidencies = 1u << 20;  // (weights, node) pairs

class Residency {
 public:
  // 0 permille forgets the pair. Errors: InvalidArgument, LimitExceeded.
  Status set(uint32_t weights, NodeIndex node, uint32_t permille);
  void forget(NodeIndex node);
  // By node, as policies want it; nullptr when the weights are nowhere. Valid until the next call.
  const std::vector<uint32_t>* of(uint32_t weights, size_t nodes);

 private:
  using Entry = std::pair<NodeIndex, uint32_t>;
  std::unordered_map<uint32_t, std::vector<Entry>> on_;  // by weights; nodes in order, none with 0
  std::vector<uint32_t> by_node_;
  size_t size_ = 0;
};

}  // namespace tweendeck::placement

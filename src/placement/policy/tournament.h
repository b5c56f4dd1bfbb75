// The best of many scored nodes, kept up to date: a tree of maxima over the nodes in index order. Changing one
// score is O(log n), the best is O(log n), and ties go to the lowest index.
#pragma once

#include <algorithm>
#include <bit>
#include <cstdint>
#include <vector>

namespace tweendeck::placement {

inline constexpr int32_t kUnfit = INT32_MIN;  // the score of a node that cannot take the claim

class Tournament {
 public:
  // All nodes unfit; room for at least `nodes`.
  void reset(size_t nodes) {
    leaves_ = std::bit_ceil(nodes < 2 ? size_t{2} : nodes);
    best_.assign(2 * leaves_, kUnfit);
  }
  size_t capacity() const { return leaves_; }

  // For many at once: `load` each, then `build`.
  void load(uint32_t node, int32_t score) { best_[leaves_ + node] = score; }
  void build() {
    for (size_t i = leaves_ - 1; i > 0; --i) best_[i] = std::max(best_[2 * i], best_[2 * i + 1]);
  }

  void set(uint32_t node, int32_t score) {
    size_t i = leaves_ + node;
    if (best_[i] == score) return;
    best_[i] = score;
    for (i /= 2; i > 0; i /= 2) {
      const int32_t best = std::max(best_[2 * i], best_[2 * i + 1]);
      if (best_[i] == best) return;
      best_[i] = best;
    }
  }

  int32_t best_score() const { return best_[1]; }
  uint32_t best_node() const {
    size_t i = 1;
    while (i < leaves_) i = 2 * i + (best_[2 * i] == best_[i] ? 0 : 1);
    return static_cast<uint32_t>(i - leaves_);
  }

 private:
  size_t leaves_ = 0;
  std::vector<int32_t> best_;  // 1 = root, leaves from leaves_
};

}  // namespace tweendeck::placement

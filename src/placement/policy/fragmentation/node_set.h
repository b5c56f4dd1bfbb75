// A set of node indices: O(1) insert and erase, and the least member at once. Three levels of bits.
#pragma once

#include <bit>
#include <cstdint>
#include <vector>

#include "placement/cluster/cluster.h"

namespace tweendeck::placement::fragmentation {

class NodeSet {
 public:
  void insert(NodeIndex node) {
    if (words_.size() <= node / 64) grow(node);
    words_[node / 64] |= 1ull << node % 64;
    summary_[node / 4096] |= 1ull << node / 64 % 64;
  }
  void erase(NodeIndex node) {
    uint64_t& word = words_[node / 64];
    word &= ~(1ull << node % 64);
    if (word == 0) summary_[node / 4096] &= ~(1ull << node / 64 % 64);
  }
  // The least member that is at least `from`; kNoNode when there is none.
  NodeIndex next(NodeIndex from) const {
    size_t word = from / 64;
    if (word >= words_.size()) return kNoNode;
    if (const uint64_t rest = words_[word] & ~0ull << from % 64; rest != 0) return index(word, rest);
    ++word;
    size_t block = word / 64;
    if (block >= summary_.size()) return kNoNode;
    uint64_t blocks = summary_[block] & ~0ull << word % 64;
    while (blocks == 0) {
      if (++block == summary_.size()) return kNoNode;
      blocks = summary_[block];
    }
    word = block * 64 + static_cast<size_t>(std::countr_zero(blocks));
    return index(word, words_[word]);
  }

 private:
  static NodeIndex index(size_t word, uint64_t bits) {
    return static_cast<NodeIndex>(word * 64 + static_cast<size_t>(std::countr_zero(bits)));
  }
  void grow(NodeIndex node) {
    summary_.resize(node / 4096 + 1);
    words_.resize(summary_.size() * 64);
  }
  std::vector<uint64_t> words_;
  std::vector<uint64_t> summary_;  // bit per word that is not empty
};

}  // namespace tweendeck::placement::fragmentation

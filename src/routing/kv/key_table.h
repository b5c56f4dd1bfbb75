// One holder's blocks: from the engine's hash of a block to our fingerprint.
//
// Needed to place a child behind its parent, and to find what a removal means. 16 bytes per block in an array
// that is 3/4 to 17/20 full: linear probing with the entries in the order of their (mixed) hashes, so that
// growing is one pass over neighbours, in place, and a search ends at the first larger hash. A hash that was
// added twice is there twice. One thread; memory comes out of the budget.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <memory>

#include "routing/kv/budget.h"
#include "routing/kv/fingerprint.h"

namespace tweendeck::routing::kv {

class KeyTable {
 public:
  // `seed` keeps an engine from choosing hashes that all want the same place.
  KeyTable(Budget& budget, uint64_t seed) : budget_(&budget), seed_(seed) {}
  ~KeyTable();
  KeyTable(KeyTable&& other) noexcept;
  KeyTable& operator=(KeyTable&&) = delete;

  Fingerprint find(uint64_t key) const;  // 0 = not there
  void prefetch(uint64_t key) const;
  bool reserve_one();  // false: the budget is spent. Otherwise the next insert() has room
  void insert(uint64_t key, Fingerprint fingerprint);
  Fingerprint erase(uint64_t key);  // one of it; 0 = not there
  // Takes some entry out, for emptying a table step by step; 0 = it is empty. Nothing but pop() after that.
  Fingerprint pop();

  size_t size() const { return used_; }
  size_t bytes() const { return total_ * sizeof(Entry); }

 private:
  struct Entry {
    uint64_t tag;
    Fingerprint fingerprint;  // 0 = free
  };
  uint64_t tag_of(uint64_t key) const;
  size_t home(uint64_t tag) const;
  size_t find_tag(uint64_t tag) const;  // total_ = not there
  void erase_at(size_t at);
  bool resize(size_t capacity);
  bool fits(size_t capacity, size_t total) const;

  Budget* budget_;
  uint64_t seed_;
  Entry* entries_ = nullptr;
  size_t capacity_ = 0;  // homes
  size_t total_ = 0;     // homes and the room behind them for what is pushed past the last one
  size_t used_ = 0;
  size_t popped_ = 0;  // where pop() goes on
};

}  // namespace tweendeck::routing::kv

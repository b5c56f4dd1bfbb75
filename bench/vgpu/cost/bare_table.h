// A hash table from a 64-bit key to three words and nothing else: open addressing, linear probing, no lock,
// no growth. The yardstick for the library's table of allocations.
#pragma once

#include <bit>
#include <cstdint>
#include <vector>

class BareTable {
 public:
  struct Value {
    uint64_t words[3];
  };

  explicit BareTable(uint32_t live) : mask_(std::bit_ceil(2ull * live) - 1), entries_(mask_ + 1) {}

  void insert(uint64_t key, const Value& value) { entries_[find(key)] = {key, value}; }
  bool erase(uint64_t key) {
    uint64_t hole = find(key);
    if (entries_[hole].key == 0) return false;
    for (uint64_t next = (hole + 1) & mask_; entries_[next].key != 0; next = (next + 1) & mask_) {
      if (((next - home(entries_[next].key)) & mask_) >= ((next - hole) & mask_)) {
        entries_[hole] = entries_[next];
        hole = next;
      }
    }
    entries_[hole].key = 0;
    return true;
  }

 private:
  struct Entry {
    uint64_t key = 0;  // 0 = free
    Value value = {};
  };
  uint64_t home(uint64_t key) const { return (key * 0x9e3779b97f4a7c15ull >> 20) & mask_; }
  uint64_t find(uint64_t key) const {
    uint64_t index = home(key);
    while (entries_[index].key != 0 && entries_[index].key != key) index = (index + 1) & mask_;
    return index;
  }

  uint64_t mask_;
  std::vector<Entry> entries_;
};

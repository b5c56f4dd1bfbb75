// Open addressing for the two memo tables of the policy: keys and values in one array, linear probing, no erase.
#pragma once

#include <cstddef>
#include <cstdint>
#include <utility>
#include <vector>

namespace tweendeck::placement::fragmentation {

template <typename Key, typename Value>
class FlatTable {
 public:
  explicit FlatTable(size_t limit) : limit_(limit) { cells_.resize(kFirst); }

  // The value and whether it is new (then Value{}). Above its limit the table forgets everything first: it is a memo.
  // The reference holds until the next call.
  std::pair<Value&, bool> find_or_add(const Key& key, uint64_t hash) {
    if (size_ >= limit_) clear();
    if (size_ * 2 >= cells_.size()) grow();
    hash |= 1;
    Cell& cell = cells_[place(key, hash)];
    const bool added = cell.hash == 0;
    if (added) {
      cell = {hash, key, Value{}};
      ++size_;
    }
    return {cell.value, added};
  }

  void clear() {
    cells_.assign(kFirst, Cell{});
    size_ = 0;
  }
  size_t size() const { return size_; }

 private:
  static constexpr size_t kFirst = 1024;
  struct Cell {
    uint64_t hash = 0;  // 0 = free
    Key key{};
    Value value{};
  };

  size_t place(const Key& key, uint64_t hash) const {
    size_t at = (hash >> 1) & (cells_.size() - 1);
    while (cells_[at].hash != 0 && !(cells_[at].hash == hash && cells_[at].key == key)) {
      at = (at + 1) & (cells_.size() - 1);
    }
    return at;
  }
  void grow() {
    std::vector<Cell> old(cells_.size() * 2);
    old.swap(cells_);
    for (Cell& cell : old) {
      if (cell.hash != 0) cells_[place(cell.key, cell.hash)] = std::move(cell);
    }
  }

  std::vector<Cell> cells_;
  size_t size_ = 0;
  size_t limit_;
};

}  // namespace tweendeck::placement::fragmentation

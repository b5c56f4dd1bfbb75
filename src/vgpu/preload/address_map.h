// A map from addresses or handles to small values, for the rare calls: one lock, open addressing, no deletion
// marks. It allocates from the system alone and lives as long as the process.
#pragma once

#include <stdint.h>
#include <sys/mman.h>

namespace tweendeck::vgpu {

// Not safe from several threads: its user has a lock.
template <class Value>
class AddressMap {
 public:
  // Null when no memory is left for the map. A value that is there already stays.
  Value* insert(uint64_t key) {
    if (count_ * 4 >= capacity_ * 3 && !grow()) return nullptr;
    Entry& entry = entries_[find_place(key)];
    if (!entry.taken) {
      entry = {key, true, {}};
      ++count_;
    }
    return &entry.value;
  }

  // Valid until the next insert or erase.
  Value* find(uint64_t key) {
    if (count_ == 0) return nullptr;
    Entry& entry = entries_[find_place(key)];
    return entry.taken ? &entry.value : nullptr;
  }

  // Moves later entries of the run back into the hole.
  void erase(uint64_t key) {
    if (!find(key)) return;
    uint32_t hole = find_place(key);
    for (uint32_t next = after(hole); entries_[next].taken; next = after(next)) {
      const uint32_t home = place_of(entries_[next].key);
      if (((next - home) & (capacity_ - 1)) >= ((next - hole) & (capacity_ - 1))) {
        entries_[hole] = entries_[next];
        hole = next;
      }
    }
    entries_[hole].taken = false;
    --count_;
  }

  // visit(key, value) returns true to stop there.
  template <class Visit>
  bool visit(Visit visit) {
    for (uint32_t i = 0; i < capacity_; ++i) {
      if (entries_[i].taken && visit(entries_[i].key, entries_[i].value)) return true;
    }
    return false;
  }

  void clear() {
    for (uint32_t i = 0; i < capacity_; ++i) entries_[i].taken = false;
    count_ = 0;
  }

  uint32_t size() const { return count_; }

 private:
  struct Entry {
    uint64_t key;
    bool taken;
    Value value;
  };
  static constexpr uint32_t kFirstCapacity = 128;

  uint32_t place_of(uint64_t key) const {
    return static_cast<uint32_t>((key ^ key >> 32) * 0x9e3779b97f4a7c15ull >> 32) & (capacity_ - 1);
  }
  uint32_t after(uint32_t index) const { return (index + 1) & (capacity_ - 1); }
  uint32_t find_place(uint64_t key) const {
    uint32_t index = place_of(key);
    while (entries_[index].taken && entries_[index].key != key) index = after(index);
    return index;
  }

  bool grow() {
    const uint32_t larger = capacity_ ? capacity_ * 2 : kFirstCapacity;
    void* memory =
        mmap(nullptr, larger * sizeof(Entry), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) return false;
    Entry* const old = entries_;
    const uint32_t old_capacity = capacity_;
    entries_ = static_cast<Entry*>(memory);
    capacity_ = larger;
    for (uint32_t i = 0; i < old_capacity; ++i) {
      if (old[i].taken) entries_[find_place(old[i].key)] = old[i];
    }
    if (old) munmap(old, old_capacity * sizeof(Entry));
    return true;
  }

  Entry* entries_ = nullptr;
  uint32_t capacity_ = 0;
  uint32_t count_ = 0;
};

}  // namespace tweendeck::vgpu

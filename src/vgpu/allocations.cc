#include "vgpu/allocations.h"

#include <sched.h>
#include <sys/mman.h>

namespace tweendeck::vgpu {
namespace {

constexpr uint32_t kFirstCapacity = 128;
constexpr int kSpins = 100;

}  // namespace

class Allocations::Locked {
 public:
  explicit Locked(Shard& shard) : shard_(shard) {
    for (int spins = 0; __atomic_exchange_n(&shard_.lock, 1, __ATOMIC_ACQUIRE) != 0; ++spins) {
      if (spins >= kSpins) sched_yield();
    }
  }
  ~Locked() { __atomic_store_n(&shard_.lock, 0, __ATOMIC_RELEASE); }
  Locked(const Locked&) = delete;
  Locked& operator=(const Locked&) = delete;

 private:
  Shard& shard_;
};

uint64_t Allocations::hash(uint64_t address) {
  // Addresses are aligned to 256 bytes or more; a multiply spreads what is left (Fibonacci hashing).
  uint64_t mixed = address ^ (address >> 32);
  mixed *= 0x9e3779b97f4a7c15ull;
  return mixed ^ (mixed >> 29);
}

uint32_t Allocations::Shard::find(uint64_t address) const {
  uint32_t index = static_cast<uint32_t>(hash(address)) & (capacity - 1);
  while (entries[index].address != 0 && entries[index].address != address)
    index = (index + 1) & (capacity - 1);
  return index;
}

bool Allocations::Shard::grow() {
  const uint32_t larger = capacity ? capacity * 2 : kFirstCapacity;
  void* memory =
      mmap(nullptr, larger * sizeof(Entry), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return false;
  Entry* old = entries;
  const uint32_t old_capacity = capacity;
  entries = static_cast<Entry*>(memory);
  capacity = larger;
  for (uint32_t i = 0; i < old_capacity; ++i) {
    if (old[i].address) entries[find(old[i].address)] = old[i];
  }
  if (old) munmap(old, old_capacity * sizeof(Entry));
  return true;
}

// Moves later entries of the probe run back, so that there are no tombstones to fill the table.
void Allocations::Shard::erase(uint32_t index) {
  uint32_t hole = index;
  for (uint32_t next = (hole + 1) & (capacity - 1); entries[next].address != 0;
       next = (next + 1) & (capacity - 1)) {
    const uint32_t home = static_cast<uint32_t>(hash(entries[next].address)) & (capacity - 1);
    if (((next - home) & (capacity - 1)) >= ((next - hole) & (capacity - 1))) {
      entries[hole] = entries[next];
      hole = next;
    }
  }
  entries[hole].address = 0;
  --count;
}

bool Allocations::insert(uint64_t address, const Allocation& allocation) {
  Shard& s = shard(address);
  const Locked locked(s);
  if (s.count * 4 >= s.capacity * 3 && !s.grow()) return false;
  Entry& entry = s.entries[s.find(address)];
  if (entry.address == 0) ++s.count;
  entry = {address, allocation};
  return true;
}

bool Allocations::remove(uint64_t address, Allocation& out) {
  Shard& s = shard(address);
  const Locked locked(s);
  if (address == 0 || s.count == 0) return false;
  const uint32_t index = s.find(address);
  if (s.entries[index].address == 0) return false;
  out = s.entries[index].allocation;
  s.erase(index);
  return true;
}

void Allocations::remove_context(uint64_t context, void (*released)(const Allocation&)) {
  for (Shard& s : shards_) {
    const Locked locked(s);
    for (uint32_t i = 0; i < s.capacity;) {
      if (s.entries[i].address != 0 && s.entries[i].allocation.context == context) {
        released(s.entries[i].allocation);
        s.erase(i);  // may have moved another entry here, so look again
      } else {
        ++i;
      }
    }
  }
}

void Allocations::forget() {
  for (Shard& s : shards_) {
    s.lock = 0;
    for (uint32_t i = 0; i < s.capacity; ++i) s.entries[i].address = 0;
    s.count = 0;
  }
}

uint64_t Allocations::size() const {
  uint64_t total = 0;
  for (const Shard& s : shards_) total += __atomic_load_n(&s.count, __ATOMIC_RELAXED);
  return total;
}

}  // namespace tweendeck::vgpu

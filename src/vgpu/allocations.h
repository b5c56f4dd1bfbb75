// What this process has allocated: address or handle -> size, device, kind, context.
//
// Shards of buckets, O(1) and without long pauses. A bucket is one cache line of four entries; an entry whose
// bucket is full lives in a later one, and each bucket counts those that had to pass it. A shard that is half
// full gets a larger array, and every later call moves a few buckets over. The newest entries of a shard stay
// beside its lock; by the time they are written to the array, their cache line has come.
// Each shard has a spin lock that lives in this process only, so a killed process takes it along; nothing
// under it blocks, makes more than one mapping or (but for remove_context) calls out.
#pragma once

#include <stdint.h>

#include "vgpu/page.h"

namespace tweendeck::vgpu {

struct Allocation {
  uint64_t bytes = 0;
  uint64_t context = 0;
  uint32_t device = 0;
  tw_vgpu_kind kind = TW_VGPU_KIND_LINEAR;
};

class Allocations {
 public:
  static constexpr uint32_t kShards = 16;  // as many bits as kShardBits
  static constexpr uint32_t kNewest = 3;
  static constexpr uint64_t kMaxBytes = (1ull << 44) - 1;
  // Entries of further contexts stay until they are freed one by one.
  static constexpr uint32_t kMaxContexts = 254;

  // The address is not in the table (the driver hands out none that is in use). False when no memory is left,
  // or the size is not one of this world; the allocation then stays charged until the process ends.
  bool insert(uint64_t address, const Allocation& allocation);
  bool remove(uint64_t address, Allocation& out);
  // Removes all of a context, which the driver has freed with it, and hands each to `released`.
  void remove_context(uint64_t context, void (*released)(const Allocation&));
  // After fork: the child has no device memory, and a lock may have been held by a thread that is not there.
  void forget();
  uint64_t size();

 private:
  static constexpr uint32_t kShardBits = 4;
  static_assert(kShards == 1u << kShardBits);
  struct Entry {
    uint64_t address;  // 0 = free
    uint64_t packed;   // bytes: 44, context: 8, device: 4, kind: 4; the rest is the bucket's
  };
  static constexpr uint32_t kEntries = 4;
  struct alignas(64) Bucket {
    Entry entries[kEntries];

    uint32_t find(uint64_t address) const;  // kEntries = not here
    // Entries that had to pass, in the first entry's spare bits; at kMostPassed it stays there.
    uint32_t passed() const;
    void set_passed(uint32_t count);
    void put(uint32_t index, const Entry& entry);
  };
  struct Array {
    Bucket* buckets = nullptr;
    uint32_t count = 0;  // power of two

    uint32_t home(uint64_t hashed) const { return static_cast<uint32_t>(hashed) & (count - 1); }
    // Without the lock: the line may be of an array that is there no more, which does no harm.
    void fetch(uint64_t hashed) const;
    void put(const Entry& entry, uint64_t hashed);
    bool take(uint64_t address, uint64_t hashed, uint64_t& packed);
    void put_behind(const Entry& entry, uint32_t full);
    bool take_behind(uint64_t address, uint32_t first, uint64_t& packed);
    void drop();
  };
  struct alignas(64) Shard {
    uint32_t lock = 0;
    uint32_t stored = 0;  // entries of both arrays
    Entry newest[kNewest] = {};
    uint32_t next = 0;   // of the newest: where the next one goes
    uint32_t moved = 0;  // buckets of `old` below this are free
    Array now, old;

    bool grow();
    void move_some(uint32_t buckets);
    bool take(uint64_t address, uint64_t hashed, uint64_t& packed);
  };
  class Locked;

  static uint64_t hash(uint64_t address);
  Shard& shard(uint64_t hashed) { return shards_[hashed >> (64 - kShardBits)]; }
  uint32_t context_number(uint64_t context);
  uint32_t later_context_number(uint64_t context);
  Allocation unpack(uint64_t packed) const;

  Shard shards_[kShards];
  uint64_t contexts_[kMaxContexts] = {};  // number - 1 of each; 0 = free
};

}  // namespace tweendeck::vgpu

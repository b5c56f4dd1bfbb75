// What this process has allocated: address or handle -> size, device, kind, context. Sharded open addressing,
// O(1). Each shard has a spin lock that lives in this process only, so a killed process takes it along.
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
  static constexpr uint32_t kShards = 64;

  // False when no memory is left for the table; the allocation then stays charged until the process ends.
  bool insert(uint64_t address, const Allocation& allocation);
  bool remove(uint64_t address, Allocation& out);
  // Removes all of a context, which the driver has freed with it, and hands each to `released`.
  void remove_context(uint64_t context, void (*released)(const Allocation&));
  // After fork: the child has no device memory, and a lock may have been held by a thread that is not there.
  void forget();
  uint64_t size() const;

 private:
  struct Entry {
    uint64_t address;  // 0 = free
    Allocation allocation;
  };
  struct Shard {
    uint32_t lock = 0;
    uint32_t capacity = 0;  // power of two
    uint32_t count = 0;
    Entry* entries = nullptr;

    bool grow();
    uint32_t find(uint64_t address) const;  // where it is, or the free place where it belongs
    void erase(uint32_t index);
  };
  class Locked;

  static uint64_t hash(uint64_t address);
  Shard& shard(uint64_t address) { return shards_[hash(address) >> 58]; }

  Shard shards_[kShards];
};

}  // namespace tweendeck::vgpu

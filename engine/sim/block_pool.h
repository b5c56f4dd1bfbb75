// The KV memory in blocks of 16 tokens, with a prefix cache: a full block is found again by the hash of all
// tokens up to its end, and stays findable after its last user is gone until it is needed (least recently
// used first).
//
// Pure; one thread. Block ids are dense from 0. Invariant: a block is free (in the list) exactly when nobody
// uses it.
#pragma once

#include <cstdint>
#include <optional>
#include <unordered_map>
#include <vector>

namespace tweendeck::sim {

using BlockId = uint32_t;

class BlockPool {
 public:
  explicit BlockPool(uint32_t blocks);

  // The block that holds this prefix, now used once more; nullopt when it is not cached.
  std::optional<BlockId> find_and_use(uint64_t prefix_hash);
  bool contains(uint64_t prefix_hash) const { return cached_.contains(prefix_hash); }

  // An empty block, used once: the least recently used free one, which forgets its content. nullopt = all in
  // use.
  std::optional<BlockId> allocate();

  // From now on the block is found by this hash. Another block with the same content stays the one that is
  // found.
  void publish(BlockId block, uint64_t prefix_hash);

  // One use less. Release a request's blocks last to first, so that the ends of prefixes are evicted first.
  void release(BlockId block);

  uint32_t size() const { return static_cast<uint32_t>(blocks_.size()); }
  uint32_t free() const { return free_; }
  uint32_t in_use() const { return size() - free_; }
  uint32_t uses(BlockId block) const { return blocks_[block].uses; }
  void check_invariants() const;  // aborts when broken; for tests

 private:
  static constexpr BlockId kNone = ~0u;
  struct Block {
    uint64_t hash = 0;
    bool published = false;
    uint32_t uses = 0;
    BlockId newer = kNone;  // links of the free list
    BlockId older = kNone;
  };
  void unlink(BlockId block);
  void append(BlockId block);

  std::vector<Block> blocks_;
  std::unordered_map<uint64_t, BlockId> cached_;
  BlockId oldest_ = kNone;
  BlockId newest_ = kNone;
  uint32_t free_ = 0;
};

}  // namespace tweendeck::sim

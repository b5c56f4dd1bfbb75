#include "engine/sim/block_pool.h"

#include <cstdlib>

namespace tweendeck::sim {

BlockPool::BlockPool(uint32_t blocks) : blocks_(blocks) {
  for (BlockId block = 0; block < blocks; ++block) append(block);
}

std::optional<BlockId> BlockPool::find_and_use(uint64_t prefix_hash) {
  const auto found = cached_.find(prefix_hash);
  if (found == cached_.end()) return std::nullopt;
  const BlockId block = found->second;
  if (blocks_[block].uses++ == 0) unlink(block);
  return block;
}

std::optional<BlockId> BlockPool::allocate() {
  if (oldest_ == kNone) return std::nullopt;
  const BlockId block = oldest_;
  unlink(block);
  Block& b = blocks_[block];
  if (b.published) cached_.erase(b.hash);
  b.published = false;
  b.uses = 1;
  return block;
}

void BlockPool::publish(BlockId block, uint64_t prefix_hash) {
  Block& b = blocks_[block];
  if (b.published || !cached_.emplace(prefix_hash, block).second) return;
  b.hash = prefix_hash;
  b.published = true;
}

void BlockPool::release(BlockId block) {
  if (--blocks_[block].uses == 0) append(block);
}

void BlockPool::unlink(BlockId block) {
  Block& b = blocks_[block];
  (b.older == kNone ? oldest_ : blocks_[b.older].newer) = b.newer;
  (b.newer == kNone ? newest_ : blocks_[b.newer].older) = b.older;
  b.newer = b.older = kNone;
  --free_;
}

void BlockPool::append(BlockId block) {
  Block& b = blocks_[block];
  b.older = newest_;
  b.newer = kNone;
  (newest_ == kNone ? oldest_ : blocks_[newest_].newer) = block;
  newest_ = block;
  ++free_;
}

void BlockPool::check_invariants() const {
  uint32_t listed = 0;
  for (BlockId block = oldest_; block != kNone; block = blocks_[block].newer) {
    if (blocks_[block].uses != 0 || ++listed > size()) abort();
  }
  uint32_t unused = 0;
  for (const Block& b : blocks_) unused += b.uses == 0;
  if (listed != free_ || unused != free_) abort();
  for (const auto& [hash, block] : cached_) {
    if (!blocks_[block].published || blocks_[block].hash != hash) abort();
  }
}

}  // namespace tweendeck::sim

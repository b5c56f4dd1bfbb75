// From a block's fingerprint to the set of its holders.
//
// 64-byte buckets of five blocks in segments that grow by an eighth, one at a time, so that the table is 3/4 to
// 17/20 full at every size. Entries never move inside a segment: a bucket that was full counts who went past
// it, and a search ends at the first bucket that nobody passed.
//
// One writer. find() may be called by readers between enter() and leave() of Readers and is wait-free: a bucket
// that changes under its eyes is read again kReadAttempts times, then it counts as not knowing the block.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>

#include "routing/kv/budget.h"
#include "routing/kv/fingerprint.h"
#include "routing/kv/holder_sets.h"
#include "routing/kv/readers.h"

namespace tweendeck::routing::kv {

class PrefixTable {
 public:
  static constexpr uint32_t kSegments = 1024;
  static constexpr int kReadAttempts = 4;

  PrefixTable(Budget& budget, Readers& readers) : budget_(&budget), readers_(&readers) {}
  ~PrefixTable();

  // ---- readers
  SetId find(Fingerprint fingerprint) const;  // 0 = nobody
  void prefetch(Fingerprint fingerprint) const;

  // ---- the writer
  using Cell = std::atomic<SetId>;
  Cell* cell(Fingerprint fingerprint);           // nullptr = not there; valid until the next put()
  bool put(Fingerprint fingerprint, SetId set);  // not there yet; false: the budget is spent
  void erase(Fingerprint fingerprint, Cell* cell);

  size_t size() const { return size_; }

 private:
  static constexpr int kEntries = 5;
  struct alignas(64) Bucket {
    std::array<std::atomic<Fingerprint>, kEntries> fingerprints;
    std::array<Cell, kEntries> sets;
    std::atomic<uint32_t> state;  // count of rewrites << 9 | being rewritten << 8 | passed by
  };
  struct alignas(64) Segment {
    uint32_t buckets = 0;
    uint32_t used = 0;  // the writer's
    Bucket* bucket(size_t i) { return reinterpret_cast<Bucket*>(this + 1) + i; }
    const Bucket* bucket(size_t i) const { return reinterpret_cast<const Bucket*>(this + 1) + i; }
  };
  static size_t bytes(size_t buckets) { return sizeof(Segment) + buckets * sizeof(Bucket); }
  static uint32_t segment_of(Fingerprint fingerprint) { return fingerprint >> 54; }
  static uint32_t home(Fingerprint fingerprint, uint32_t buckets) {
    return static_cast<uint32_t>(((fingerprint >> 22) & 0xFFFFFFFF) * buckets >> 32);
  }

  Segment* make(size_t buckets);
  bool place(Segment& segment, Fingerprint fingerprint, SetId set);
  bool resize(uint32_t index, size_t buckets);
  void destroy(Segment* segment);

  Budget* budget_;
  Readers* readers_;
  std::array<std::atomic<Segment*>, kSegments> segments_{};
  size_t size_ = 0;
};

}  // namespace tweendeck::routing::kv

#include "routing/kv/prefix_table.h"

#include <algorithm>
#include <cstdlib>
#include <new>

namespace tweendeck::routing::kv {
namespace {

constexpr uint32_t kPassedMask = 0xFF;  // a count that reached it stays there until the segment is made anew
constexpr uint32_t kBusy = 1 << 8;
constexpr uint32_t kRewrite = 1 << 9;
constexpr uint32_t kMaxProbes = 64;  // buckets
constexpr size_t kFullNumerator = 17, kFullDenominator = 20;
constexpr size_t kGrowthDivisor = 8;
constexpr size_t kSparseDivisor = 3;

}  // namespace

PrefixTable::~PrefixTable() {
  for (std::atomic<Segment*>& segment : segments_) destroy(segment.load());
}

void PrefixTable::destroy(Segment* segment) {
  if (segment == nullptr) return;
  budget_->give(bytes(segment->buckets));
  free(segment);
}

PrefixTable::Segment* PrefixTable::make(size_t buckets) {
  if (!budget_->take(bytes(buckets))) return nullptr;
  void* memory = aligned_alloc(alignof(Segment), bytes(buckets));
  if (memory == nullptr) {
    budget_->give(bytes(buckets));
    return nullptr;
  }
  auto* segment = new (memory) Segment{};
  segment->buckets = static_cast<uint32_t>(buckets);
  for (size_t i = 0; i < buckets; ++i) new (segment->bucket(i)) Bucket{};
  return segment;
}

void PrefixTable::prefetch(Fingerprint fingerprint) const {
  const Segment* segment = segments_[segment_of(fingerprint)].load(std::memory_order_acquire);
  if (segment != nullptr) __builtin_prefetch(segment->bucket(home(fingerprint, segment->buckets)));
}

// A block's set is written after its fingerprint and taken away before another's comes, and every rewrite
// changes the state. So a fingerprint and a set that were read between two equal states belong together.
SetId PrefixTable::find(Fingerprint fingerprint) const {
  const Segment* segment = segments_[segment_of(fingerprint)].load(std::memory_order_acquire);
  if (segment == nullptr) return 0;
  uint32_t at = home(fingerprint, segment->buckets);
  for (uint32_t probe = 0; probe < kMaxProbes; ++probe) {
    const Bucket& bucket = *segment->bucket(at);
    SetId set = 0;
    uint32_t state = 0;
    bool stable = false;
    for (int attempt = 0; attempt < kReadAttempts && !stable; ++attempt) {
      state = bucket.state.load(std::memory_order_acquire);
      set = 0;
      for (int i = 0; i < kEntries; ++i) {
        if (bucket.fingerprints[i].load(std::memory_order_acquire) != fingerprint) continue;
        const SetId here = bucket.sets[i].load(std::memory_order_acquire);
        if (here != 0) set = here;
      }
      stable = (state & kBusy) == 0 && bucket.state.load(std::memory_order_acquire) == state;
    }
    if (!stable) return 0;
    if (set != 0) return set;
    if ((state & kPassedMask) == 0) return 0;
    if (++at == segment->buckets) at = 0;
  }
  return 0;
}

PrefixTable::Cell* PrefixTable::cell(Fingerprint fingerprint) {
  Segment* segment = segments_[segment_of(fingerprint)].load(std::memory_order_relaxed);
  if (segment == nullptr) return nullptr;
  uint32_t at = home(fingerprint, segment->buckets);
  for (uint32_t probe = 0; probe < kMaxProbes; ++probe) {
    Bucket& bucket = *segment->bucket(at);
    for (int i = 0; i < kEntries; ++i) {
      if (bucket.fingerprints[i].load(std::memory_order_relaxed) == fingerprint &&
          bucket.sets[i].load(std::memory_order_relaxed) != 0) {
        return &bucket.sets[i];
      }
    }
    if ((bucket.state.load(std::memory_order_relaxed) & kPassedMask) == 0) return nullptr;
    if (++at == segment->buckets) at = 0;
  }
  return nullptr;
}

bool PrefixTable::place(Segment& segment, Fingerprint fingerprint, SetId set) {
  const uint32_t from = home(fingerprint, segment.buckets);
  uint32_t at = from;
  auto free_entry = [&] {
    const Bucket& bucket = *segment.bucket(at);
    int i = 0;
    while (i < kEntries && bucket.sets[i].load(std::memory_order_relaxed) != 0) ++i;
    return i;
  };
  int entry = free_entry();
  for (uint32_t probe = 1; entry == kEntries; ++probe) {
    if (probe == std::min(kMaxProbes, segment.buckets)) return false;
    if (++at == segment.buckets) at = 0;
    entry = free_entry();
  }
  for (uint32_t passed = from; passed != at;) {
    std::atomic<uint32_t>& state = segment.bucket(passed)->state;
    const uint32_t now = state.load(std::memory_order_relaxed);
    if ((now & kPassedMask) != kPassedMask) state.store(now + 1, std::memory_order_release);
    if (++passed == segment.buckets) passed = 0;
  }
  Bucket& bucket = *segment.bucket(at);
  const uint32_t state = bucket.state.load(std::memory_order_relaxed);
  bucket.state.store(state | kBusy, std::memory_order_relaxed);
  bucket.fingerprints[entry].store(fingerprint, std::memory_order_release);
  bucket.sets[entry].store(set, std::memory_order_release);
  bucket.state.store(state + kRewrite, std::memory_order_release);
  ++segment.used;
  return true;
}

bool PrefixTable::resize(uint32_t index, size_t buckets) {
  Segment* old = segments_[index].load(std::memory_order_relaxed);
  Segment* fresh = make(buckets);
  if (fresh == nullptr) return false;
  for (uint32_t b = 0; old != nullptr && b < old->buckets; ++b) {
    const Bucket& bucket = *old->bucket(b);
    for (int i = 0; i < kEntries; ++i) {
      const SetId set = bucket.sets[i].load(std::memory_order_relaxed);
      if (set == 0) continue;
      if (!place(*fresh, bucket.fingerprints[i].load(std::memory_order_relaxed), set)) {
        destroy(fresh);
        return false;
      }
    }
  }
  segments_[index].store(fresh, std::memory_order_release);
  if (old != nullptr) readers_->retire([this, old] { destroy(old); });
  return true;
}

bool PrefixTable::put(Fingerprint fingerprint, SetId set) {
  const uint32_t index = segment_of(fingerprint);
  Segment* segment = segments_[index].load(std::memory_order_relaxed);
  const size_t buckets = segment == nullptr ? 0 : segment->buckets;
  const size_t larger = buckets + std::max<size_t>(1, buckets / kGrowthDivisor);
  const bool full =
      segment == nullptr || (segment->used + 1) * kFullDenominator > buckets * kEntries * kFullNumerator;
  if (full && !resize(index, larger)) return false;
  if (!place(*segments_[index].load(std::memory_order_relaxed), fingerprint, set)) {
    if (full || !resize(index, larger)) return false;
    if (!place(*segments_[index].load(std::memory_order_relaxed), fingerprint, set)) return false;
  }
  ++size_;
  return true;
}

void PrefixTable::erase(Fingerprint fingerprint, Cell* cell) {
  cell->store(0, std::memory_order_release);
  --size_;
  const uint32_t index = segment_of(fingerprint);
  Segment& segment = *segments_[index].load(std::memory_order_relaxed);
  --segment.used;
  const auto offset = reinterpret_cast<const char*>(cell) - reinterpret_cast<const char*>(segment.bucket(0));
  const auto at = static_cast<uint32_t>(static_cast<size_t>(offset) / sizeof(Bucket));
  for (uint32_t passed = home(fingerprint, segment.buckets); passed != at;) {
    std::atomic<uint32_t>& state = segment.bucket(passed)->state;
    const uint32_t now = state.load(std::memory_order_relaxed);
    if ((now & kPassedMask) != kPassedMask) state.store(now - 1, std::memory_order_release);
    if (++passed == segment.buckets) passed = 0;
  }
  if (segment.used == 0) {
    Segment* old = segments_[index].exchange(nullptr, std::memory_order_acq_rel);
    readers_->retire([this, old] { destroy(old); });
  } else if (segment.buckets > kGrowthDivisor && segment.used * kSparseDivisor < segment.buckets * kEntries) {
    resize(index, segment.used * kFullDenominator / (kFullNumerator * kEntries) +
                      segment.used / (kGrowthDivisor * kEntries) + 1);
  }
}

}  // namespace tweendeck::routing::kv

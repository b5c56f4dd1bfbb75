#include "routing/kv/key_table.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace tweendeck::routing::kv {
namespace {

constexpr size_t kFirstCapacity = 16;
constexpr size_t kOverhang = 64;  // places behind the last home
constexpr size_t kFullNumerator = 17, kFullDenominator = 20;
constexpr size_t kGrowthDivisor = 8;  // an eighth more each time
constexpr size_t kSparseDivisor = 3;  // shrinks when less than a third is used

size_t scale(uint64_t tag, size_t capacity) {
  return static_cast<size_t>(static_cast<__uint128_t>(tag) * capacity >> 64);
}

}  // namespace

KeyTable::~KeyTable() {
  budget_->give(bytes());
  free(entries_);
}

KeyTable::KeyTable(KeyTable&& other) noexcept
    : budget_(other.budget_),
      seed_(other.seed_),
      entries_(std::exchange(other.entries_, nullptr)),
      capacity_(std::exchange(other.capacity_, 0)),
      total_(std::exchange(other.total_, 0)),
      used_(std::exchange(other.used_, 0)),
      popped_(std::exchange(other.popped_, 0)) {}

// A bijection (David Stafford's variant 13 of MurmurHash3's finalizer), so that different hashes stay different.
uint64_t KeyTable::tag_of(uint64_t key) const {
  uint64_t x = key ^ seed_;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9ull;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EBull;
  return x ^ (x >> 31);
}

size_t KeyTable::home(uint64_t tag) const {
  return scale(tag, capacity_);
}

void KeyTable::prefetch(uint64_t key) const {
  if (total_ > 0) __builtin_prefetch(entries_ + home(tag_of(key)));
}

size_t KeyTable::find_tag(uint64_t tag) const {
  if (used_ == 0) return total_;
  for (size_t at = home(tag); at < total_ && entries_[at].fingerprint != 0; ++at) {
    if (entries_[at].tag == tag) return at;
    if (entries_[at].tag > tag) break;
  }
  return total_;
}

Fingerprint KeyTable::find(uint64_t key) const {
  const size_t at = find_tag(tag_of(key));
  return at == total_ ? 0 : entries_[at].fingerprint;
}

bool KeyTable::fits(size_t capacity, size_t total) const {
  size_t next = 0;
  for (size_t at = 0; at < total_; ++at) {
    if (entries_[at].fingerprint != 0) next = std::max(next, scale(entries_[at].tag, capacity)) + 1;
  }
  return next + 1 < total;
}

// In place: everything to the end, then each entry to its new place, which is never behind where it is read.
bool KeyTable::resize(size_t capacity) {
  const size_t total = capacity + kOverhang;
  if (!fits(capacity, total)) return false;
  const size_t old_total = total_;
  const size_t larger = std::max(total, old_total);
  if (larger > old_total) {
    if (!budget_->take((larger - old_total) * sizeof(Entry))) return false;
    auto* grown = static_cast<Entry*>(realloc(entries_, larger * sizeof(Entry)));
    if (grown == nullptr) {
      budget_->give((larger - old_total) * sizeof(Entry));
      return false;
    }
    entries_ = grown;
  }
  size_t packed = larger;
  for (size_t at = old_total; at-- > 0;) {
    if (entries_[at].fingerprint != 0) entries_[--packed] = entries_[at];
  }
  size_t next = 0;
  for (size_t at = packed; at < larger; ++at) {
    const Entry entry = entries_[at];
    const size_t place = std::max(next, scale(entry.tag, capacity));
    for (; next < place; ++next) entries_[next].fingerprint = 0;
    entries_[next++] = entry;
  }
  for (; next < larger; ++next) entries_[next].fingerprint = 0;
  capacity_ = capacity;
  total_ = larger;
  if (total < larger) {
    if (auto* smaller = static_cast<Entry*>(realloc(entries_, total * sizeof(Entry)))) {
      entries_ = smaller;
      budget_->give((larger - total) * sizeof(Entry));
      total_ = total;
    }
  }
  return true;
}

bool KeyTable::reserve_one() {
  const bool full = (used_ + 1) * kFullDenominator > capacity_ * kFullNumerator;
  // The last place stays free: every search and every shift ends there.
  const bool end_used = total_ > 0 && entries_[total_ - 2].fingerprint != 0;
  if (!full && !end_used) return true;
  size_t capacity = std::max(kFirstCapacity, capacity_);
  do {
    capacity += std::max(capacity / kGrowthDivisor, kFirstCapacity);
  } while ((used_ + 1) * kFullDenominator > capacity * kFullNumerator);
  return resize(capacity);
}

void KeyTable::insert(uint64_t key, Fingerprint fingerprint) {
  const Entry entry{tag_of(key), fingerprint};
  size_t at = home(entry.tag);
  while (entries_[at].fingerprint != 0 && entries_[at].tag <= entry.tag) ++at;
  size_t hole = at;
  while (entries_[hole].fingerprint != 0) ++hole;
  memmove(entries_ + at + 1, entries_ + at, (hole - at) * sizeof(Entry));
  entries_[at] = entry;
  ++used_;
}

void KeyTable::erase_at(size_t at) {
  size_t end = at + 1;  // of those that move up
  while (entries_[end].fingerprint != 0 && home(entries_[end].tag) < end) ++end;
  memmove(entries_ + at, entries_ + at + 1, (end - at - 1) * sizeof(Entry));
  entries_[end - 1].fingerprint = 0;
  --used_;
}

Fingerprint KeyTable::erase(uint64_t key) {
  const size_t at = find_tag(tag_of(key));
  if (at == total_) return 0;
  const Fingerprint fingerprint = entries_[at].fingerprint;
  erase_at(at);
  if (capacity_ > 2 * kFirstCapacity && used_ * kSparseDivisor < capacity_) {
    resize(std::max(kFirstCapacity, used_ * kFullDenominator / kFullNumerator + used_ / kGrowthDivisor));
  }
  return fingerprint;
}

Fingerprint KeyTable::pop() {
  for (; popped_ < total_; ++popped_) {
    if (entries_[popped_].fingerprint == 0) continue;
    --used_;
    return std::exchange(entries_[popped_++].fingerprint, 0);
  }
  return 0;
}

}  // namespace tweendeck::routing::kv

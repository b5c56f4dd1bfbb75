#include "vgpu/allocations.h"

#include <sched.h>
#include <sys/mman.h>

namespace tweendeck::vgpu {
namespace {

constexpr uint32_t kFirstBuckets = 64;  // one page
// Buckets of the old array that a call clears. A larger array is half full after two entries per bucket of
// the old one, so one would do; more get rid of the second look-up earlier.
constexpr uint32_t kBucketsPerCall = 4;
// Arrays from this size on are made of huge pages where the system has them: at a million entries, look-ups
// would miss the TLB as often as the cache.
constexpr uint64_t kHugePage = 2 << 20;
constexpr uint32_t kUnknownContext = Allocations::kMaxContexts + 1;
constexpr int kSpins = 100;

constexpr uint32_t kContextShift = 44, kDeviceShift = 52, kKindShift = 56, kPassedShift = 60;
constexpr uint64_t kPassedMask = 0xfull << kPassedShift;
constexpr uint32_t kMostPassed = 15;
static_assert(TW_VGPU_MAX_DEVICES <= 16 && TW_VGPU_KINDS <= 16 && kUnknownContext <= 255);

void* map_array(uint64_t bytes) {
  const uint64_t spare = bytes >= kHugePage ? kHugePage : 0;
  void* memory = mmap(nullptr, bytes + spare, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) return nullptr;
  if (spare == 0) return memory;
  auto* const start = static_cast<char*>(memory);
  const uint64_t before = -reinterpret_cast<uint64_t>(start) & (kHugePage - 1);
  if (before > 0) munmap(start, before);
  if (before < spare) munmap(start + before + bytes, spare - before);
  madvise(start + before, bytes, MADV_HUGEPAGE);
  return start + before;
}

bool taken(uint32_t& lock) {
  return __atomic_exchange_n(&lock, 1, __ATOMIC_ACQUIRE) != 0;
}

[[gnu::noinline, gnu::cold]] void wait_for(uint32_t& lock) {
  for (int spins = 0; taken(lock); ++spins) {
    if (spins >= kSpins) sched_yield();
  }
}

}  // namespace

class Allocations::Locked {
 public:
  explicit Locked(Shard& shard) : shard_(shard) {
    if (__builtin_expect(taken(shard_.lock), 0)) wait_for(shard_.lock);
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

void Allocations::Array::fetch(uint64_t hashed) const {
  // As numbers: of an array that is not there yet, or of two at once, it is no pointer.
  const auto start = reinterpret_cast<uintptr_t>(__atomic_load_n(&buckets, __ATOMIC_RELAXED));
  const uint32_t mask = __atomic_load_n(&count, __ATOMIC_RELAXED) - 1;
  const uint64_t index = static_cast<uint32_t>(hashed) & mask;
  __builtin_prefetch(reinterpret_cast<const void*>(start + index * sizeof(Bucket)), 1);
}

// Without branches: which of the four it is cannot be predicted.
uint32_t Allocations::Bucket::find(uint64_t address) const {
  uint32_t found = 1u << kEntries;
  for (uint32_t i = 0; i < kEntries; ++i) found |= static_cast<uint32_t>(entries[i].address == address) << i;
  return static_cast<uint32_t>(__builtin_ctz(found));
}

uint32_t Allocations::Bucket::passed() const {
  return static_cast<uint32_t>(entries[0].packed >> kPassedShift);
}

void Allocations::Bucket::set_passed(uint32_t count) {
  entries[0].packed = (entries[0].packed & ~kPassedMask) | uint64_t{count} << kPassedShift;
}

void Allocations::Bucket::put(uint32_t index, const Entry& entry) {
  entries[index].packed = (entries[index].packed & kPassedMask) | entry.packed;
  entries[index].address = entry.address;
}

void Allocations::Array::put(const Entry& entry, uint64_t hashed) {
  const uint32_t at = home(hashed);
  const uint32_t index = buckets[at].find(0);
  if (__builtin_expect(index == kEntries, 0)) return put_behind(entry, at);
  buckets[at].put(index, entry);
}

[[gnu::noinline, gnu::cold]] void Allocations::Array::put_behind(const Entry& entry, uint32_t full) {
  for (uint32_t at = full;; at = (at + 1) & (count - 1)) {
    Bucket& bucket = buckets[at];
    const uint32_t index = bucket.find(0);
    if (index < kEntries) return bucket.put(index, entry);
    if (bucket.passed() < kMostPassed) bucket.set_passed(bucket.passed() + 1);
  }
}

bool Allocations::Array::take(uint64_t address, uint64_t hashed, uint64_t& packed) {
  const uint32_t first = home(hashed);
  if (__builtin_expect(count == 0, 0)) return false;
  Bucket& bucket = buckets[first];
  const uint32_t index = bucket.find(address);
  if (__builtin_expect(index == kEntries, 0)) return take_behind(address, first, packed);
  packed = bucket.entries[index].packed & ~kPassedMask;
  bucket.entries[index].address = 0;
  return true;
}

[[gnu::noinline, gnu::cold]] bool Allocations::Array::take_behind(uint64_t address, uint32_t first,
                                                                  uint64_t& packed) {
  for (uint32_t step = 0; step < count; ++step) {
    Bucket& bucket = buckets[(first + step) & (count - 1)];
    const uint32_t index = bucket.find(address);
    if (index == kEntries) {
      if (bucket.passed() == 0) return false;
      continue;
    }
    packed = bucket.entries[index].packed & ~kPassedMask;
    bucket.entries[index].address = 0;
    while (step-- > 0) {
      Bucket& on_the_way = buckets[(first + step) & (count - 1)];
      if (on_the_way.passed() < kMostPassed) on_the_way.set_passed(on_the_way.passed() - 1);
    }
    return true;
  }
  return false;
}

void Allocations::Array::drop() {
  if (buckets) munmap(buckets, count * sizeof(Bucket));
  buckets = nullptr;
  count = 0;
}

[[gnu::noinline, gnu::cold]] bool Allocations::Shard::grow() {
  move_some(old.count);  // there is nothing left by now
  const uint32_t larger = now.count ? now.count * 2 : kFirstBuckets;
  void* memory = map_array(larger * sizeof(Bucket));
  if (!memory) return false;
  old = now;
  now = {static_cast<Bucket*>(memory), larger};
  moved = 0;
  return true;
}

// What moved away still counts as passed in the old array, which is looked at second and soon gone.
[[gnu::noinline, gnu::cold]] void Allocations::Shard::move_some(uint32_t buckets) {
  for (; moved < old.count && buckets > 0; ++moved, --buckets) {
    for (Entry& entry : old.buckets[moved].entries) {
      if (entry.address == 0) continue;
      now.put({entry.address, entry.packed & ~kPassedMask}, hash(entry.address));
      entry.address = 0;
    }
  }
  if (moved == old.count) old.drop();
}

[[gnu::always_inline]] inline bool Allocations::Shard::take(uint64_t address, uint64_t hashed,
                                                            uint64_t& packed) {
  for (uint32_t i = 0; i < kNewest; ++i) {
    if (newest[i].address != address) continue;
    packed = newest[i].packed;
    newest[i].address = 0;
    next = i;
    return true;
  }
  if (!now.take(address, hashed, packed) && !old.take(address, hashed, packed)) return false;
  --stored;
  return true;
}

uint32_t Allocations::context_number(uint64_t context) {
  if (context == 0) return 0;
  // Most programs have one.
  if (__builtin_expect(__atomic_load_n(&contexts_[0], __ATOMIC_ACQUIRE) == context, 1)) return 1;
  return later_context_number(context);
}

[[gnu::noinline, gnu::cold]] uint32_t Allocations::later_context_number(uint64_t context) {
  for (uint32_t i = 0; i < kMaxContexts; ++i) {
    uint64_t known = __atomic_load_n(&contexts_[i], __ATOMIC_ACQUIRE);
    if (known == 0 && __atomic_compare_exchange_n(&contexts_[i], &known, context, false, __ATOMIC_ACQ_REL,
                                                  __ATOMIC_ACQUIRE)) {
      return i + 1;
    }
    if (known == context) return i + 1;
  }
  return kUnknownContext;
}

Allocation Allocations::unpack(uint64_t packed) const {
  Allocation allocation;
  allocation.bytes = packed & kMaxBytes;
  const uint32_t number = packed >> kContextShift & 0xff;
  if (number != 0 && number != kUnknownContext)
    allocation.context = __atomic_load_n(&contexts_[number - 1], __ATOMIC_RELAXED);
  allocation.device = packed >> kDeviceShift & 0xf;
  allocation.kind = static_cast<tw_vgpu_kind>(packed >> kKindShift & 0xf);
  return allocation;
}

bool Allocations::insert(uint64_t address, const Allocation& allocation) {
  if (address == 0 || allocation.bytes > kMaxBytes) return false;
  const uint64_t packed = allocation.bytes | uint64_t{context_number(allocation.context)} << kContextShift |
                          uint64_t{allocation.device} << kDeviceShift |
                          uint64_t{static_cast<uint32_t>(allocation.kind)} << kKindShift;
  const uint64_t hashed = hash(address);
  Shard& s = shard(hashed);
  const Locked locked(s);
  if (__builtin_expect(s.stored >= s.now.count * (kEntries / 2), 0) && !s.grow()) return false;
  s.now.fetch(hashed);
  Entry& place = s.newest[s.next];
  s.next = s.next + 1 == kNewest ? 0 : s.next + 1;
  if (place.address != 0) {
    s.now.put(place, hash(place.address));
    ++s.stored;
    if (__builtin_expect(s.old.buckets != nullptr, 0)) s.move_some(kBucketsPerCall);
  }
  place = {address, packed};
  return true;
}

bool Allocations::remove(uint64_t address, Allocation& out) {
  if (address == 0) return false;
  uint64_t packed = 0;
  const uint64_t hashed = hash(address);
  {
    Shard& s = shard(hashed);
    s.now.fetch(hashed);
    const Locked locked(s);
    if (!s.take(address, hashed, packed)) return false;
    if (__builtin_expect(s.old.buckets != nullptr, 0)) s.move_some(kBucketsPerCall);
  }
  out = unpack(packed);
  return true;
}

void Allocations::remove_context(uint64_t context, void (*released)(const Allocation&)) {
  uint32_t number = 0;
  while (number < kMaxContexts && __atomic_load_n(&contexts_[number], __ATOMIC_ACQUIRE) != context) ++number;
  if (context == 0 || number == kMaxContexts) return;
  const auto of_context = [&](const Entry& entry) {
    return entry.address != 0 && (entry.packed >> kContextShift & 0xff) == number + 1;
  };
  for (Shard& s : shards_) {
    const Locked locked(s);
    s.move_some(s.old.count);
    for (Entry& entry : s.newest) {
      if (!of_context(entry)) continue;
      released(unpack(entry.packed));
      entry.address = 0;
    }
    for (uint32_t i = 0; i < s.now.count * kEntries; ++i) {
      const Entry entry = s.now.buckets[i / kEntries].entries[i % kEntries];
      uint64_t packed = 0;
      if (!of_context(entry) || !s.now.take(entry.address, hash(entry.address), packed)) continue;
      released(unpack(packed));
      --s.stored;
    }
  }
  __atomic_store_n(&contexts_[number], 0, __ATOMIC_RELEASE);
}

void Allocations::forget() {
  for (Shard& s : shards_) {
    s.now.drop();
    s.old.drop();
    s = Shard{};
  }
  for (uint64_t& context : contexts_) context = 0;
}

uint64_t Allocations::size() {
  uint64_t total = 0;
  for (Shard& s : shards_) {
    const Locked locked(s);
    total += s.stored;
    for (const Entry& entry : s.newest) total += entry.address != 0;
  }
  return total;
}

}  // namespace tweendeck::vgpu

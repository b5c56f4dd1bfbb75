// How long each kernel takes on this device, as learned from measurements. A fixed table, newest key wins on
// a collision; process-local. The caller serialises update(), doubt() and forget(); find() and a cost word
// may be read at any time and then say what was true a moment ago.
//
// A measurement is a range: with other work on the device, the interval between two events says how long the
// kernel took at most. A range of one value is exact.
//
// A kernel is steady when its last measurements agree. Only of steady kernels some launches go unmeasured,
// and the more the longer they have been steady: a kernel whose time depends on its data is measured each
// time.
#pragma once

#include <stdint.h>

namespace tweendeck::vgpu {

// Time and launches in one word, so that both are taken by one subtraction: ns in the low bits, launches
// above. What is left of a lease has neither guard set; one that was borrowed from says that there was too
// little.
inline constexpr uint32_t kCostTimeBits = 39;
inline constexpr uint64_t kCostTimeGuard = 1ull << kCostTimeBits;
inline constexpr uint64_t kCostLaunchesGuard = 1ull << 63;
inline constexpr uint64_t kCostGuards = kCostTimeGuard | kCostLaunchesGuard;
inline constexpr uint64_t kMostCostNs = kCostTimeGuard - 1;
inline constexpr uint64_t kNoCost = kCostLaunchesGuard;  // cannot be paid
constexpr uint64_t cost_word(uint64_t ns, uint64_t launches) {
  return (ns < kMostCostNs ? ns : kMostCostNs) | launches << (kCostTimeBits + 1);
}
constexpr uint64_t cost_time_ns(uint64_t word) {
  return word & kMostCostNs;
}
constexpr uint32_t cost_launches(uint64_t word) {
  return static_cast<uint32_t>(word >> (kCostTimeBits + 1));
}

struct Duration {
  uint64_t mean_ns = 0;            // 0 = not learned
  uint32_t unmeasured = 0;         // launches that may go unmeasured after a measured one
  const uint64_t* cost = nullptr;  // cost_word of one launch while steady, else kNoCost
  bool varies = false;             // measured exactly, it took now this and now that
};

struct Charge {
  uint64_t ns = 0;        // for this launch
  int64_t refund_ns = 0;  // of what earlier ones were charged; negative: they cost more
};

class Durations {
 public:
  static constexpr uint32_t kEntries = 4096;
  static constexpr uint8_t kSteadyAfter = 3;        // agreeing measurements in a row
  static constexpr uint32_t kMostUnmeasured = 512;  // doubles up to this with each further agreement
  static constexpr int kVariationStep = 16, kVariationFades = 4, kVaries = 96, kMostVariation = 128;
  static constexpr uint8_t kGuessedLaunches = 2;
  static constexpr uint64_t kToleranceNs = 500;     // the resolution of events
  static constexpr uint64_t kToleranceDivisor = 8;  // and this part of the mean

  Duration find(uint64_t key) const {
    const Entry& entry = entries_[key % kEntries];
    if (load(entry.key) != key) return {};
    const uint8_t agreeing = __atomic_load_n(&entry.agreeing, __ATOMIC_RELAXED);
    return {load(entry.mean_ns), unmeasured(agreeing), &entry.cost,
            __atomic_load_n(&entry.variation, __ATOMIC_RELAXED) >= kVaries};
  }

  // Takes in a measurement and says what the launch is to be charged. While no measurement of the kernel was exact,
  // charges are provisional. With `others` on the device the first kGuessedLaunches are charged half of the longest
  // interval, or the shortest if that is less: what a tenant is charged for its neighbours leaves the device idle, and
  // the node's figures (trim.h) tell what was too little. Then by the shortest; and by the first that is exact all of
  // them.
  Charge update(uint64_t key, uint64_t least_ns, uint64_t most_ns, bool others = false) {
    Entry& entry = entries_[key % kEntries];
    if (most_ns == 0) most_ns = 1;
    if (least_ns > most_ns) least_ns = most_ns;
    const bool exact = least_ns == most_ns;
    if (entry.key != key) {
      store(entry.cost, kNoCost);
      store8(entry.agreeing, 0);
      store8(entry.variation, 0);
      entry.unsure = exact ? 0 : 1;
      entry.longest_ns = most_ns;
      entry.provisional_ns = exact || !others ? most_ns : most_ns / 2;
      store(entry.mean_ns, most_ns);
      store(entry.key, key);
      return {entry.provisional_ns, 0};
    }
    const uint64_t before = entry.mean_ns;
    learn(entry, least_ns, most_ns, exact);
    const uint64_t usual = entry.variation >= kVaries || before > most_ns ? most_ns
                           : before < least_ns                            ? least_ns
                                                                          : before;
    if (entry.unsure == 0) return {usual, 0};
    return exact ? be_sure(entry, most_ns) : stay_unsure(entry, most_ns, others);
  }

  // What is behind the key may take another time from now on: measured again, charged as before until then.
  void doubt(uint64_t key) {
    Entry& entry = entries_[key % kEntries];
    if (entry.key != key) return;
    store8(entry.agreeing, 0);
    store(entry.cost, kNoCost);
  }
  // The key means something new.
  void forget(uint64_t key) {
    doubt(key);
    Entry& entry = entries_[key % kEntries];
    if (entry.key == key) store(entry.key, 0);
  }

 private:
  struct Entry {
    uint64_t key = 0;
    uint64_t mean_ns = 0;
    uint64_t cost = 0;
    uint64_t longest_ns = 0;      // of the launches while none was measured exactly
    uint64_t provisional_ns = 0;  // charged for those launches
    uint8_t agreeing = 0;
    uint8_t variation = 0;  // disagreements lately
    uint8_t unsure = 0;     // launches that were measured, while none was exactly
  };
  void learn(Entry& entry, uint64_t least_ns, uint64_t most_ns, bool exact) {
    const uint64_t mean = entry.mean_ns;
    const uint64_t tolerance = mean / kToleranceDivisor + kToleranceNs;
    const uint64_t nearest = most_ns < mean ? most_ns : least_ns > mean ? least_ns : mean;
    if (nearest <= mean + tolerance && nearest + tolerance >= mean) {
      if (entry.agreeing < UINT8_MAX) store8(entry.agreeing, entry.agreeing + 1);
      store(entry.mean_ns, nearest < mean ? mean - (mean - nearest) / 4 : mean + (nearest - mean) / 4);
      store8(entry.variation, entry.variation > kVariationFades ? entry.variation - kVariationFades : 0);
    } else {
      store(entry.mean_ns, exact && entry.unsure == 0 ? mean / 2 + nearest / 2 : nearest);
      store8(entry.agreeing, 0);
      if (exact && entry.unsure == 0 && entry.variation < kMostVariation)
        store8(entry.variation, entry.variation + kVariationStep);
    }
    store(entry.cost, entry.agreeing >= kSteadyAfter ? cost_word(entry.mean_ns, 1) : kNoCost);
  }
  // All launches so far were as long as this one.
  static Charge be_sure(Entry& entry, uint64_t exact_ns) {
    const int64_t refund =
        static_cast<int64_t>(entry.provisional_ns) - static_cast<int64_t>(entry.unsure * exact_ns);
    entry.unsure = 0;
    return {exact_ns, refund};
  }
  static Charge stay_unsure(Entry& entry, uint64_t most_ns, bool others) {
    if (entry.unsure == UINT8_MAX) return {entry.mean_ns, 0};
    const uint64_t launches = ++entry.unsure;
    if (most_ns > entry.longest_ns) entry.longest_ns = most_ns;
    const bool guessed = others && launches <= kGuessedLaunches && entry.longest_ns / 2 < entry.mean_ns;
    const uint64_t charge_ns = guessed ? entry.longest_ns / 2 : entry.mean_ns;
    const auto charged = static_cast<int64_t>(entry.provisional_ns + charge_ns);
    const auto due = static_cast<int64_t>(launches * charge_ns);
    const int64_t refund = guessed || charged > due ? charged - due : 0;
    entry.provisional_ns = static_cast<uint64_t>(charged - refund);
    return {charge_ns, refund};
  }
  static uint64_t load(const uint64_t& word) { return __atomic_load_n(&word, __ATOMIC_RELAXED); }
  static void store(uint64_t& word, uint64_t value) { __atomic_store_n(&word, value, __ATOMIC_RELAXED); }
  static void store8(uint8_t& word, int value) {
    __atomic_store_n(&word, static_cast<uint8_t>(value), __ATOMIC_RELAXED);
  }
  static uint32_t unmeasured(uint8_t agreeing) {
    if (agreeing < kSteadyAfter) return 0;
    const uint32_t doublings = agreeing - kSteadyAfter + 1u;
    return doublings >= __builtin_ctz(kMostUnmeasured) ? kMostUnmeasured : 1u << doublings;
  }

  Entry entries_[kEntries] = {};
};

// FNV-1a over words; never 0.
inline uint64_t duration_key(const uint64_t* words, uint32_t count) {
  uint64_t hash = 0xcbf29ce484222325ull;
  for (uint32_t i = 0; i < count; ++i) {
    hash = (hash ^ words[i]) * 0x100000001b3ull;
    hash ^= hash >> 29;
  }
  return hash ? hash : 1;
}

}  // namespace tweendeck::vgpu

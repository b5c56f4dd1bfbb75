// How long each kernel takes on this device, as learned from measurements. A fixed table, newest key wins on
// a collision; process-local. The caller serialises update(); find() may run at any time and then sees an old
// or the new value.
#pragma once

#include <stdint.h>

namespace tweendeck::vgpu {

struct Duration {
  uint64_t mean_ns = 0;  // 0 = not learned
  bool stable = false;   // the last kStableAfter measurements were within an eighth of the mean
};

class Durations {
 public:
  static constexpr uint32_t kEntries = 4096;
  static constexpr uint8_t kStableAfter = 4;

  Duration find(uint64_t key) const {
    const Entry& entry = entries_[key % kEntries];
    if (entry.key != key) return {};
    return {entry.mean_ns, entry.agreeing >= kStableAfter};
  }

  // `alone` = nobody else used the device meanwhile. With others about, a measurement is an upper bound only.
  void update(uint64_t key, uint64_t measured_ns, bool alone) {
    Entry& entry = entries_[key % kEntries];
    if (measured_ns == 0) measured_ns = 1;
    if (entry.key != key) {
      entry = {key, measured_ns, 0};
      return;
    }
    const uint64_t mean = entry.mean_ns;
    const uint64_t difference = measured_ns > mean ? measured_ns - mean : mean - measured_ns;
    if (!alone && measured_ns > mean) return;
    if (difference <= mean / 8) {
      if (entry.agreeing < kStableAfter) ++entry.agreeing;
      entry.mean_ns = measured_ns > mean ? mean + difference / 4 : mean - difference / 4;
    } else {
      entry.agreeing = 0;
      entry.mean_ns = alone ? (mean + measured_ns) / 2 : measured_ns;
    }
  }

 private:
  struct Entry {
    uint64_t key = 0;
    uint64_t mean_ns = 0;
    uint8_t agreeing = 0;
  };
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

// Usage that fades: an average over the past in which what lies one half-life back counts half.
//
// Integers only, so that every machine agrees: powers of 1/2 come from a table of square roots, accurate to
// 2^-28 of the value (decay_test.cc).
#pragma once

#include <cstdint>

namespace tweendeck::placement {

inline constexpr int64_t kFixedOne = int64_t{1} << 32;  // 1.0

// 2^-(elapsed/half_life) as a fixed-point number; half_life > 0, elapsed >= 0.
int64_t half_power(int64_t elapsed_ms, int64_t half_life_ms);

// An exponentially weighted average of a level that is constant between calls.
class DecayedAverage {
 public:
  // `level` held since the last call.
  void advance(int64_t now_ms, int64_t level, int64_t half_life_ms);
  // What it will be at `now_ms` if `level` holds until then.
  int64_t at(int64_t now_ms, int64_t level, int64_t half_life_ms) const;

 private:
  int64_t value_ = 0;
  int64_t since_ms_ = 0;
};

}  // namespace tweendeck::placement

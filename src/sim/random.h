// The simulator's only source of chance: SplitMix64 (Steele, Lea, Flood 2014). The same seed gives the same numbers
// everywhere.
#pragma once

#include <cmath>
#include <cstdint>

namespace tweendeck::sim {

class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}

  uint64_t next() {
    uint64_t z = state_ += 0x9E3779B97F4A7C15ull;
    z = (z ^ z >> 30) * 0xBF58476D1CE4E5B9ull;
    z = (z ^ z >> 27) * 0x94D049BB133111EBull;
    return z ^ z >> 31;
  }
  // 0 .. below - 1, below > 0. Its bias is below / 2^64.
  uint64_t below(uint64_t below) { return static_cast<uint64_t>((static_cast<Wide>(next()) * below) >> 64); }
  double uniform() { return static_cast<double>(next() >> 11) * 0x1p-53; }  // [0, 1)
  double exponential() { return -std::log1p(-uniform()); }                  // mean 1

 private:
  __extension__ using Wide = unsigned __int128;
  uint64_t state_;
};

}  // namespace tweendeck::sim

#include "placement/policy/fragmentation/state.h"

#include <bit>

namespace tweendeck::placement::fragmentation {

uint64_t hash_of(const State& state) {
  const auto words = std::bit_cast<std::array<uint64_t, sizeof(State) / 8>>(state);
  uint64_t hash = 0;
  for (const uint64_t word : words) {
    hash = (hash ^ word) * 0x9e3779b97f4a7c15ull;
    hash ^= hash >> 32;
  }
  return hash;
}

}  // namespace tweendeck::placement::fragmentation

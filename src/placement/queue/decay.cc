#include "placement/queue/decay.h"

#include <algorithm>
#include <array>

namespace tweendeck::placement {
namespace {

constexpr int kFractionBits = 20;  // of elapsed / half_life that are looked at

// 2^-(2^-(i+1)) * 2^32, rounded: each the square root of the one before.
constexpr std::array<uint64_t, kFractionBits> kRoots = {
    3037000500, 3611622603, 3938502376, 4112874773, 4202935003, 4248701965, 4271771996,
    4283353945, 4289156690, 4292061010, 4293513907, 4294240540, 4294603903, 4294785595,
    4294876445, 4294921870, 4294944583, 4294955939, 4294961618, 4294964457};

}  // namespace

int64_t half_power(int64_t elapsed_ms, int64_t half_life_ms) {
  const int64_t halvings = elapsed_ms / half_life_ms;
  if (halvings >= 33) return 0;
  const auto rest = static_cast<uint64_t>(elapsed_ms % half_life_ms);
  const auto fraction = static_cast<uint64_t>((static_cast<__uint128_t>(rest) << kFractionBits) /
                                              static_cast<uint64_t>(half_life_ms));
  uint64_t value = static_cast<uint64_t>(kFixedOne) >> halvings;
  for (int bit = 0; bit < kFractionBits; ++bit) {
    if (((fraction >> (kFractionBits - 1 - bit)) & 1) != 0)
      value = (value * kRoots[static_cast<size_t>(bit)]) >> 32;
  }
  return static_cast<int64_t>(value);
}

int64_t DecayedAverage::at(int64_t now_ms, int64_t level, int64_t half_life_ms) const {
  const int64_t elapsed = std::max<int64_t>(now_ms - since_ms_, 0);
  const __int128_t difference = static_cast<__int128_t>(value_ - level) * half_power(elapsed, half_life_ms);
  return level + static_cast<int64_t>(difference / kFixedOne);
}

void DecayedAverage::advance(int64_t now_ms, int64_t level, int64_t half_life_ms) {
  value_ = at(now_ms, level, half_life_ms);
  since_ms_ = std::max(since_ms_, now_ms);
}

}  // namespace tweendeck::placement

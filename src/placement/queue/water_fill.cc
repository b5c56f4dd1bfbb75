#include "placement/queue/water_fill.h"

#include <algorithm>
#include <vector>

namespace tweendeck::placement {
namespace {

struct Pool {
  int64_t need = 0;
  uint64_t weight = 0;
  size_t index = 0;
  uint64_t remainder = 0;
};

// need/weight: the water level at which it is full.
bool fills_first(const Pool& a, const Pool& b) {
  const auto left = static_cast<__int128_t>(a.need) * static_cast<__int128_t>(b.weight);
  const auto right = static_cast<__int128_t>(b.need) * static_cast<__int128_t>(a.weight);
  return left != right ? left < right : a.index < b.index;
}

// Divides what does not suffice for anybody of `dry` exactly by weight, largest remainders first.
void divide(int64_t amount, std::span<Pool> dry, std::span<int64_t> parts) {
  __uint128_t weights = 0;
  for (const Pool& p : dry) weights += p.weight;
  int64_t left = amount;
  for (Pool& p : dry) {
    const __uint128_t product = static_cast<__uint128_t>(amount) * p.weight;
    const auto whole = static_cast<int64_t>(product / weights);
    p.remainder = static_cast<uint64_t>(product % weights);
    parts[p.index] += whole;
    left -= whole;
  }
  if (left == 0) return;
  std::nth_element(dry.begin(), dry.begin() + left, dry.end(), [](const Pool& a, const Pool& b) {
    return a.remainder != b.remainder ? a.remainder > b.remainder : a.index < b.index;
  });
  for (const Pool& p : dry.first(static_cast<size_t>(left))) parts[p.index] += 1;
}

// Finds the water level by halving: those that fill below it get what they need, the others divide the rest.
void raise(int64_t amount, std::span<Pool> pools, std::span<int64_t> parts) {
  std::span<Pool> open = pools;  // before it: full; after it: dry
  __uint128_t dry_weight = 0;
  while (!open.empty()) {
    const size_t middle = open.size() / 2;
    std::nth_element(open.begin(), open.begin() + static_cast<std::ptrdiff_t>(middle), open.end(),
                     fills_first);
    __int128_t need = 0;
    for (const Pool& p : open.first(middle + 1)) need += p.need;
    __uint128_t above = dry_weight;
    for (const Pool& p : open.subspan(middle + 1)) above += p.weight;
    const Pool& pivot = open[middle];
    // Products of 63 and 45 bits (kMaxWeight times thousands of children) fit.
    const bool full = need <= amount && (amount - need) * static_cast<__int128_t>(pivot.weight) >=
                                            static_cast<__int128_t>(above) * pivot.need;
    if (full) {
      for (const Pool& p : open.first(middle + 1)) parts[p.index] += p.need;
      amount -= static_cast<int64_t>(need);
      open = open.subspan(middle + 1);
    } else {
      for (const Pool& p : open.subspan(middle)) dry_weight += p.weight;
      open = open.first(middle);
    }
  }
  const auto first_dry = static_cast<size_t>(open.data() - pools.data());
  if (first_dry < pools.size()) divide(amount, pools.subspan(first_dry), parts);
}

}  // namespace

void water_fill(int64_t amount, std::span<const Want> wants, std::span<int64_t> parts) {
  std::ranges::fill(parts, 0);
  amount = std::max<int64_t>(amount, 0);
  __int128_t certain = 0;
  for (const Want& w : wants) certain += std::max<int64_t>(std::min(w.guaranteed, w.request), 0);
  const bool short_of_guarantees = certain > amount;
  std::vector<Pool> pools;
  pools.reserve(wants.size());
  for (size_t i = 0; i < wants.size(); ++i) {
    const Want& w = wants[i];
    const int64_t base = std::max<int64_t>(std::min(w.guaranteed, w.request), 0);
    if (!short_of_guarantees) parts[i] = base;
    const int64_t need = short_of_guarantees ? base : std::max<int64_t>(w.request, 0) - base;
    // Guarantees can be bytes: scaled down to a weight, never to nothing.
    const uint64_t weight =
        short_of_guarantees ? static_cast<uint64_t>(static_cast<__int128_t>(base) * kMaxWeight / certain) + 1
                            : std::min(w.weight, kMaxWeight);
    if (need > 0 && weight > 0) pools.push_back({need, weight, i, 0});
  }
  raise(short_of_guarantees ? amount : amount - static_cast<int64_t>(certain), pools, parts);
}

}  // namespace tweendeck::placement

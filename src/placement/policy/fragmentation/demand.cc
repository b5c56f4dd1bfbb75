#include "placement/policy/fragmentation/demand.h"

#include <algorithm>
#include <tuple>

namespace tweendeck::placement::fragmentation {

Demand::Counts& Demand::at(KindId kind) {
  if (counts_.size() <= kind) counts_.resize(kind + 1);
  return counts_[kind];
}

void Demand::arrived(KindId kind) {
  Counts& counts = at(kind);
  ++counts.arrived;
  ++counts.standing;
  ++arrivals_;
  ++total_;
  ++standing_;
}

void Demand::departed(KindId kind) {
  Counts& counts = at(kind);
  if (counts.standing == 0) return;
  --counts.standing;
  --standing_;
  ++left_;
}

void Demand::forget_if_due() {
  if (left_ <= kLifetimes * std::max<uint64_t>(standing_, 1)) return;
  left_ = 0;
  total_ = 0;
  for (Counts& counts : counts_) {
    counts.arrived = (counts.arrived + 1) / 2;
    total_ += counts.arrived;
  }
}

std::vector<KindCount> Demand::typical(std::span<const Kind> kinds) const {
  std::vector<KindCount> mix;
  for (KindId kind = 0; kind < counts_.size(); ++kind) {
    if (counts_[kind].arrived > 0 && kinds[kind].plain) mix.push_back({kind, counts_[kind].arrived});
  }
  std::ranges::sort(mix, [&](const KindCount& a, const KindCount& b) {
    const auto key = [&](const KindCount& entry) {
      const Kind& kind = kinds[entry.kind];
      return std::tuple(entry.count, kind.cpu_milli, kind.size, kind.devices, entry.kind);
    };
    return key(a) > key(b);
  });
  uint64_t covered = 0;
  size_t kept = 0;
  while (kept < mix.size() && kept < kMaxTypical && covered * 1000 < total_ * kTypicalPermille) {
    covered += mix[kept++].count;
  }
  mix.resize(kept);
  return mix;
}

uint32_t Demand::drift(std::span<const KindCount> mix) const {
  uint64_t then = 0;
  for (const KindCount& entry : mix) then += entry.count;
  if (then == 0 || total_ == 0) return 1000;
  uint64_t now = 0;
  for (const KindCount& entry : mix) now += count(entry.kind);
  uint64_t apart = 1000 - std::min<uint64_t>(1000, now * 1000 / total_);  // kinds that are not in the mix
  apart = apart > 1000 - kTypicalPermille ? apart - (1000 - kTypicalPermille) : 0;
  if (now == 0) return 1000;
  uint64_t differences = 0;
  for (const KindCount& entry : mix) {
    const uint64_t before = entry.count * 1000000 / then;
    const uint64_t after = count(entry.kind) * 1000000 / now;
    differences += before > after ? before - after : after - before;
  }
  return static_cast<uint32_t>(apart + differences / 2000);
}

}  // namespace tweendeck::placement::fragmentation

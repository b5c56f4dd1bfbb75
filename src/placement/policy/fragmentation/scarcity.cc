#include "placement/policy/fragmentation/scarcity.h"

#include <algorithm>
#include <cmath>
#include <map>

namespace tweendeck::placement::fragmentation {
namespace {

constexpr uint64_t kCpuMarginPercent = 130;
constexpr double kDemandMargin = 4;  // standard deviations that constrained demand is raised by
constexpr int kSweeps = 30;
constexpr int64_t kLeastCapacity = kWholeRest / 2;

}  // namespace

// What a request takes of the capacity: devices, and for a share what it is priced at.
uint32_t Scarcity::effective(const Kind& kind) const {
  if (kind.devices == 0) return 0;
  if (kind.devices > 1 || kind.size >= kWholeRest) return kind.devices * kind.size;
  return prices_.size[units_up(kind.size)];
}

void Scarcity::learn(const Catalog& catalog, const Demand& demand, const RestPrices& prices) {
  prices_ = prices;
  uint64_t cpu = 0;
  uint64_t devices = 0;
  for (KindId id = 0; id < catalog.kinds().size(); ++id) {
    const Kind& kind = catalog.kinds()[id];
    if (kind.devices == 0) continue;
    cpu += demand.count(id) * kind.cpu_milli;
    devices += demand.count(id) * effective(kind);
  }
  cpu_per_device_ = devices > 0 ? cpu * kWholeRest / devices * kCpuMarginPercent / 100 : 0;
  capacity_.assign(catalog.pools(), 0);
  load_.assign(catalog.pools(), 0);
  least_.clear();
  level_ = true;
}

uint32_t Scarcity::capacity_of(const State& state) const {
  uint32_t worth = 0;
  for (uint32_t i = 0; i < state.devices; ++i) {
    const uint32_t rest =
        std::min(rest_permille(state.rests[i]), memory_permille(rest_memory(state.rests[i])));
    worth += prices_.rest[units_down(rest)];
  }
  if (cpu_per_device_ == 0) return worth;
  return static_cast<uint32_t>(
      std::min<uint64_t>(worth, uint64_t{state.cpu_milli()} * kWholeRest / cpu_per_device_));
}

std::vector<Scarcity::Mask> Scarcity::masks(const Catalog& catalog, const Demand& demand) const {
  std::map<std::vector<uint8_t>, Mask> by_pools;
  for (KindId id = 0; id < catalog.kinds().size(); ++id) {
    const Kind& kind = catalog.kinds()[id];
    const uint64_t count = demand.count(id);
    if (count == 0 || kind.devices == 0) continue;
    std::vector<uint8_t> pools(catalog.pools());
    for (uint16_t pool = 0; pool < pools.size(); ++pool) pools[pool] = catalog.pool_allowed(pool, id);
    if (std::ranges::find(pools, 1) == pools.end()) continue;
    Mask& mask = by_pools[pools];
    const double each = effective(kind);
    mask.demand += static_cast<double>(count) * each;
    mask.square += static_cast<double>(count) * each * each;
  }
  std::vector<Mask> masks;
  for (auto& [pools, mask] : by_pools) {
    mask.pools = pools;
    masks.push_back(std::move(mask));
  }
  return masks;
}

bool Scarcity::refresh(const Catalog& catalog, const Demand& demand) {
  std::vector<Mask> asked = masks(catalog, demand);
  if (capacity_.size() < catalog.pools()) return false;  // a new pool counts from the next learning on
  double total = 0;
  double capacity = 0;
  for (const Mask& mask : asked) total += mask.demand;
  for (const int64_t of : capacity_) capacity += static_cast<double>(of);
  std::vector<double> level(capacity_.size(), 1.0);
  const bool constrained = std::ranges::any_of(
      asked, [](const Mask& mask) { return std::ranges::find(mask.pools, 0) != mask.pools.end(); });
  if (constrained && total > 0 && capacity >= kWholeRest) {
    const double scale = capacity / total;  // demand until the capacity is used
    for (Mask& mask : asked) {
      mask.demand *= scale;
      if (std::ranges::find(mask.pools, 0) == mask.pools.end()) continue;
      mask.demand += kDemandMargin * std::sqrt(mask.square * scale * (1 + scale));
    }
    pour(asked, level);
  }
  std::vector<uint32_t> load;
  for (const double of : level) {
    load.push_back(static_cast<uint32_t>(std::min(std::floor(of * kLoadSteps + 0.5), double{kMaxLoad})));
  }
  const bool changed = load != load_ || least_.size() != catalog.kinds().size();
  load_ = std::move(load);
  level_ = std::ranges::adjacent_find(load_, std::ranges::not_equal_to()) == load_.end();
  least_.assign(catalog.kinds().size(), kMaxLoad);
  for (KindId id = 0; id < least_.size(); ++id) {
    const bool any = catalog.kinds()[id].devices == 0;
    for (uint16_t pool = 0; pool < load_.size(); ++pool) {
      if (capacity_[pool] <= kLeastCapacity || (!any && !catalog.pool_allowed(pool, id))) continue;
      least_[id] = std::min(least_[id], load_[pool]);
    }
  }
  return changed;
}

void Scarcity::pour(const std::vector<Mask>& masks, std::vector<double>& level) const {
  const size_t pools = capacity_.size();
  std::vector<double> size(pools);
  for (size_t i = 0; i < pools; ++i) size[i] = static_cast<double>(std::max(capacity_[i], kLeastCapacity));
  std::vector<double> load(pools, 0.0);
  std::vector<std::vector<double>> part(masks.size(), std::vector<double>(pools, 0.0));
  std::vector<size_t> order;
  for (int sweep = 0; sweep < kSweeps; ++sweep) {
    for (size_t m = 0; m < masks.size(); ++m) {
      order.clear();
      for (size_t i = 0; i < pools; ++i) {
        load[i] -= part[m][i];
        part[m][i] = 0;
        if (masks[m].pools[i] != 0) order.push_back(i);
      }
      std::ranges::sort(order, [&](size_t a, size_t b) {
        const double left = load[a] / size[a];
        const double right = load[b] / size[b];
        return left != right ? left < right : a < b;
      });
      double width = 0;
      double below = 0;
      double height = 0;
      size_t filled = 0;
      while (filled < order.size()) {
        width += size[order[filled]];
        below += load[order[filled]];
        ++filled;
        height = (masks[m].demand + below) / width;
        if (filled < order.size() && height <= load[order[filled]] / size[order[filled]]) break;
      }
      for (size_t n = 0; n < filled; ++n) {
        const size_t i = order[n];
        part[m][i] = std::max(0.0, height * size[i] - load[i]);
        load[i] += part[m][i];
      }
    }
  }
  for (size_t i = 0; i < pools; ++i) level[i] = load[i] / size[i];
}

uint32_t Scarcity::above(uint16_t pool, KindId kind) const {
  if (level_ || kind >= least_.size() || pool >= load_.size() || load_[pool] <= least_[kind]) return 0;
  return std::min(load_[pool] - least_[kind], kLoadSteps);
}

}  // namespace tweendeck::placement::fragmentation

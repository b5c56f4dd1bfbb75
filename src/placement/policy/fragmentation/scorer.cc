#include "placement/policy/fragmentation/scorer.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <map>

namespace tweendeck::placement::fragmentation {
namespace {

constexpr int64_t kQuantum = 40;                // permille of a device per step of value
constexpr int64_t kStep = 1000;                 // thousandths
constexpr int64_t kRestWeight = 200;            // per permille of a device
constexpr int64_t kBestFitWeight = 5000;        // a whole node
constexpr int64_t kScarcityWeight = 100;        // per permille of a device and whole load
constexpr int64_t kReservationWeight = 200000;  // a slot
constexpr int64_t kFirstTieWeight = 50;  // permille of a device for a whole node, before anything is learned
constexpr size_t kMaxValues = 1u << 20;

int64_t floor_div(int64_t value, int64_t by) {
  return value / by - (value % by < 0 ? 1 : 0);
}

uint32_t usable_rest(Rest rest) {
  return std::min(rest_permille(rest), memory_permille(rest_memory(rest)));
}

uint32_t usable_rests(const State& state) {
  uint32_t sum = 0;
  for (uint32_t i = 0; i < state.devices; ++i) sum += usable_rest(state.rests[i]);
  return sum;
}

// States round memory down to a step; a need fits where it may fit.
bool may_fit(Rest rest, const Need& need) {
  return need.allowed && rest != 0 && rest_permille(rest) >= need.compute &&
         (rest_memory(rest) + 1) * kWholeRest + kMemorySteps > uint32_t{need.memory} * kMemorySteps;
}

}  // namespace

Scorer::Scorer(const Catalog& catalog) : catalog_(catalog), values_(kMaxValues) {}

void Scorer::learn(const Cluster& cluster, const Demand& demand) {
  grid_ = Grid::learn(demand, catalog_.kinds());
  mix_ = demand.typical(catalog_.kinds());
  deck_ = shuffled_deck(mix_);
  std::map<uint32_t, uint64_t> shares;
  for (KindId id = 0; id < catalog_.kinds().size(); ++id) {
    const Kind& kind = catalog_.kinds()[id];
    const uint64_t count = demand.count(id);
    if (kind.devices == 1 && kind.size > 0 && count > 0) shares[units_up(kind.size)] += count;
  }
  std::vector<SizeDemand> sizes;
  for (const auto& [units, count] : shares) {
    if (units < kStockUnits) sizes.push_back({units, count});
  }
  prices_ = price_rests(sizes);
  adapt(cluster, demand);
}

void Scorer::take_over(const Scorer& other) {
  grid_ = other.grid_;
  prices_ = other.prices_;
  mix_ = other.mix_;
  deck_ = other.deck_;
}

void Scorer::adapt(const Cluster& cluster, const Demand& demand) {
  rollouts_.clear();
  rollouts_of_type_.clear();
  values_.clear();
  for (uint16_t type = 0; type < catalog_.types().size(); ++type) {
    auto made = std::make_unique<Rollouts>(catalog_, type, mix_);
    const auto same =
        std::ranges::find_if(rollouts_, [&](const auto& other) { return made->same_as(*other); });
    rollouts_of_type_.push_back(static_cast<uint16_t>(same - rollouts_.begin()));
    if (same != rollouts_.end()) continue;
    made->deal(deck_);
    rollouts_.push_back(std::move(made));
  }
  reservation_.learn(catalog_, cluster, demand);
  scarcity_.learn(catalog_, demand, prices_);
}

int32_t Scorer::value_of(const State& state) {
  State key = state;
  key.type = rollouts_of_type_[state.type];
  const auto [value, added] = values_.find_or_add(key, hash_of(key));
  if (added) value = rollouts_[key.type]->value(key);
  return value;
}

Worth Scorer::worth(const State& state) {
  return {learned() ? value_of(state) : 0, scarcity_.capacity_of(state), reservation_.slots_of(state)};
}

void Scorer::take(State& state, uint32_t position, const Need& need) const {
  const uint32_t memory = memory_permille(rest_memory(state.rests[position]));
  const uint32_t left = memory > need.memory ? memory - need.memory : 0;
  const uint32_t compute = rest_permille(state.rests[position]) - need.compute;
  state.rests[position] = make_rest(grid_.rounded(compute), left * kMemorySteps / kWholeRest);
  sink(state, position, catalog_.types()[state.type].end_of(position));
}

bool Scorer::after(State& state, KindId kind, uint32_t position) const {
  const Need& need = catalog_.needs(state.type, kind)[catalog_.types()[state.type].group_of[position]];
  if (!may_fit(state.rests[position], need)) return false;
  take(state, position, need);
  return true;
}

// As many devices as asked, each time the one with the least left.
bool Scorer::after_several(State& state, KindId kind) const {
  const std::span<const Need> needs = catalog_.needs(state.type, kind);
  const TypeView& type = catalog_.types()[state.type];
  std::array<uint8_t, kMaxDevicesPerNode> fitting{};
  uint32_t count = 0;
  for (uint32_t i = state.devices; i-- > 0;) {
    if (may_fit(state.rests[i], needs[type.group_of[i]])) fitting[count++] = static_cast<uint8_t>(i);
  }
  const uint32_t wanted = catalog_.kinds()[kind].devices;
  if (count < wanted) return false;
  if (type.groups > 1) {
    std::sort(fitting.begin(), fitting.begin() + count, [&](uint8_t a, uint8_t b) {
      return state.rests[a] != state.rests[b] ? state.rests[a] < state.rests[b] : a > b;
    });
  }
  // From the last position on: what sinks then passes no position that is still to come.
  std::sort(fitting.begin(), fitting.begin() + wanted, std::greater<>());
  for (uint32_t i = 0; i < wanted; ++i) take(state, fitting[i], needs[type.group_of[fitting[i]]]);
  return true;
}

FixedTerms Scorer::compare(const State& before, const Worth& worth, const State& next, uint32_t size,
                           uint32_t rest_before, uint32_t rest_after) {
  FixedTerms terms;
  const int64_t devices = usable_rests(next);
  const int64_t max_devices = int64_t{catalog_.max_devices()} * kWholeRest;
  const int64_t max_cpu = catalog_.max_cpu_milli();
  if (!learned()) {
    const int64_t cpu = int64_t{before.cpu_milli()} - next.cpu_milli();
    const int64_t rate = std::max<int64_t>(before.cpu_milli(), 1);
    terms.value = -cpu * usable_rests(before) * kStep / rate / kQuantum;
    terms.best_fit = -(kFirstTieWeight * kStep / kQuantum) * int64_t{next.cpu_milli()} / max_cpu -
                     (kFirstTieWeight * kStep / kQuantum) * devices / max_devices;
    return terms;
  }
  const int64_t stranded = int64_t{size} * kSequences - worth.value + value_of(next);
  terms.value = floor_div(stranded, kQuantum * kSequences) * kStep;
  const int64_t price_before = prices_.rest[units_down(rest_before)];
  const int64_t price_after = prices_.rest[units_down(rest_after)];
  terms.rest_price = -kRestWeight * (price_before - price_after);
  terms.best_fit =
      -kBestFitWeight * int64_t{next.cpu_milli()} / max_cpu - kBestFitWeight * devices / max_devices;
  return terms;
}

template <typename Consider>
void Scorer::each_way(const State& state, const Worth& worth, KindId id, const Consider& consider) {
  const Kind& kind = catalog_.kinds()[id];
  State start = state;
  start.cpu = static_cast<uint16_t>(
      (state.cpu_milli() > kind.cpu_milli ? state.cpu_milli() - kind.cpu_milli : 0) / kCpuStep);
  if (kind.devices == 0) {
    consider(start, Rest{0}, compare(state, worth, start, 0, 0, 0));
    return;
  }
  if (kind.devices > 1) {
    State next = start;
    const uint32_t size = kind.size * kind.devices;
    if (after_several(next, id)) consider(next, Rest{0}, compare(state, worth, next, size, 0, 0));
    return;
  }
  const TypeView& type = catalog_.types()[state.type];
  for (uint32_t i = 0; i < state.devices; ++i) {
    if (i > type.group_begin[type.group_of[i]] && state.rests[i] == state.rests[i - 1]) continue;
    State next = start;
    if (!after(next, id, i)) continue;
    const uint32_t size = catalog_.needs(state.type, id)[type.group_of[i]].size();
    const uint32_t rest = usable_rest(state.rests[i]);
    const uint32_t left = grid_.rounded(rest > size ? rest - size : 0);
    const bool slice = size < kWholeRest;
    consider(next, state.rests[i], compare(state, worth, next, size, slice ? rest : 0, slice ? left : 0));
  }
}

FixedTerms Scorer::terms(const State& state, const Worth& worth, KindId kind, Rest rest) {
  FixedTerms found;
  each_way(state, worth, kind, [&](const State&, Rest want, const FixedTerms& terms) {
    if (want == rest || want == 0) found = terms;
  });
  return found;
}

Score Scorer::score(const State& state, const Worth& worth, KindId kind) {
  Score best;
  State chosen;
  each_way(state, worth, kind, [&](const State& next, Rest want, const FixedTerms& terms) {
    if (terms.sum() <= best.fixed) return;
    best.fixed = static_cast<int32_t>(terms.sum());
    best.want = want;
    chosen = next;
  });
  if (best.fixed == Score::kNowhere) return best;
  const GroupSlots slots = reservation_.slots_of(chosen);
  for (size_t i = 0; i < slots.size(); ++i) {
    best.slots_lost[i] = static_cast<uint8_t>(worth.slots[i] > slots[i] ? worth.slots[i] - slots[i] : 0);
  }
  const uint32_t capacity = scarcity_.capacity_of(chosen);
  best.capacity_lost = static_cast<uint16_t>(worth.capacity > capacity ? worth.capacity - capacity : 0);
  return best;
}

int32_t Scorer::dynamic_price(const Score& score, uint16_t type, KindId kind, int64_t* scarcity,
                              int64_t* reserved) const {
  const int64_t above = scarcity_.above(catalog_.types()[type].pool, kind);
  const int64_t scarce = kScarcityWeight * above * score.capacity_lost / kLoadSteps;
  int64_t slots = 0;
  for (uint32_t groups = reservation_.foreign(kind); groups != 0; groups &= groups - 1) {
    slots = std::max<int64_t>(slots, score.slots_lost[static_cast<size_t>(std::countr_zero(groups))]);
  }
  if (scarcity != nullptr) *scarcity = -scarce;
  if (reserved != nullptr) *reserved = -kReservationWeight * slots;
  return static_cast<int32_t>(scarce + kReservationWeight * slots);
}

}  // namespace tweendeck::placement::fragmentation

#include "placement/policy/fragmentation/rollouts.h"

#include <algorithm>
#include <bit>

namespace tweendeck::placement::fragmentation {
namespace {

// Fixed: the policy has no source of chance. SplitMix64 (Steele, Lea, Flood 2014).
class Shuffle {
 public:
  uint32_t below(uint32_t bound) {
    uint64_t z = (state_ += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return static_cast<uint32_t>((z ^ (z >> 31)) % bound);
  }

 private:
  uint64_t state_ = 12345;
};

}  // namespace

std::vector<uint16_t> shuffled_deck(std::span<const KindCount> mix) {
  constexpr uint32_t kCards = kSequences * kSequenceLength;
  uint64_t total = 0;
  for (const KindCount& entry : mix) total += entry.count;
  std::vector<uint16_t> deck;
  if (total == 0) return deck;
  deck.reserve(kCards);
  uint64_t upto = 0;
  for (size_t i = 0; i < mix.size(); ++i) {
    upto += mix[i].count;
    const uint64_t cards =
        (upto * kCards + total / 2) / total;  // rounded, so that the last one fills the deck
    while (deck.size() < cards) deck.push_back(static_cast<uint16_t>(i));
  }
  Shuffle shuffle;
  for (uint32_t i = kCards - 1; i > 0; --i) std::swap(deck[i], deck[shuffle.below(i + 1)]);
  return deck;
}

Rollouts::Rollouts(const Catalog& catalog, uint16_t type, std::span<const KindCount> mix)
    : group_of_(catalog.types()[type].group_of) {
  one_dimension_ = catalog.types()[type].groups <= 1;
  for (const KindCount& of : mix) {
    const Kind& kind = catalog.kinds()[of.kind];
    const std::span<const Need> needs = catalog.needs(type, of.kind);
    mix_.push_back({kind.cpu_milli, kind.devices, {needs.begin(), needs.end()}});
    for (const Need& need : needs) {
      if (need.allowed && (need.memory > 0 || (kind.devices > 1 && need.compute < kWholeRest)))
        one_dimension_ = false;
    }
  }
}

void Rollouts::deal(std::span<const uint16_t> deck) {
  deck_.assign(deck.begin(), deck.end());
  for (const uint16_t card : deck_) {
    const Entry& entry = mix_[card];
    picks_.push_back({entry.cpu_milli, static_cast<uint16_t>(entry.devices),
                      entry.needs.empty() ? uint16_t{0} : entry.needs.front().compute});
  }
  make_masks();
}

void Rollouts::make_masks() {
  // The least rest of one device that an entry can start on; above a whole device where no group is allowed.
  std::vector<uint32_t> least;
  for (const Entry& entry : mix_) {
    uint32_t rest = entry.devices == 0 ? 0 : kWholeRest + 1;
    for (const Need& need : entry.needs) {
      if (need.allowed) rest = std::min<uint32_t>(rest, need.compute);
    }
    least.push_back(rest);
  }
  std::vector<uint32_t> steps(least);
  std::ranges::sort(steps);
  steps.erase(std::ranges::unique(steps).begin(), steps.end());
  rest_rows_ = steps.size() + 1;
  rest_masks_.resize(rest_rows_ * kSequences);
  for (uint32_t rest = 0; rest <= kWholeRest; ++rest) {
    rest_row_[rest] = static_cast<uint8_t>(std::ranges::upper_bound(steps, rest) - steps.begin());
  }
  // Requests whose CPU falls into one step of it are told apart when their turn comes.
  std::vector<uint32_t> cpu_steps;
  for (const Entry& entry : mix_) cpu_steps.push_back(std::min(entry.cpu_milli / kCpuStep, kCpuRows - 1));
  std::vector<uint32_t> rows(cpu_steps);
  std::ranges::sort(rows);
  rows.erase(std::ranges::unique(rows).begin(), rows.end());
  cpu_rows_ = rows.size() + 1;
  cpu_masks_.resize(cpu_rows_ * kSequences);
  for (uint32_t step = 0; step < kCpuRows; ++step) {
    cpu_row_[step] = static_cast<uint8_t>(std::ranges::upper_bound(rows, step) - rows.begin());
  }
  const auto row_of = [](const std::vector<uint32_t>& of, uint32_t value) {
    return static_cast<size_t>(std::ranges::lower_bound(of, value) - of.begin()) + 1;
  };
  std::vector<std::pair<size_t, size_t>> first;  // by entry: the first rows in which it is
  for (size_t i = 0; i < mix_.size(); ++i)
    first.emplace_back(row_of(steps, least[i]), row_of(rows, cpu_steps[i]));
  for (uint32_t card = 0; card < deck_.size(); ++card) {
    const uint32_t sequence = card / kSequenceLength;
    const uint64_t bit = 1ull << card % kSequenceLength;
    const auto [rest_row, cpu_row] = first[deck_[card]];
    if (mix_[deck_[card]].devices > 0) device_masks_[sequence] |= bit;
    rest_masks_[sequence * rest_rows_ + rest_row] |= bit;
    cpu_masks_[sequence * cpu_rows_ + cpu_row] |= bit;
  }
  for (uint32_t sequence = 0; sequence < kSequences; ++sequence) {  // and in all rows above
    for (size_t row = 1; row < rest_rows_; ++row) {
      rest_masks_[sequence * rest_rows_ + row] |= rest_masks_[sequence * rest_rows_ + row - 1];
    }
    for (size_t row = 1; row < cpu_rows_; ++row) {
      cpu_masks_[sequence * cpu_rows_ + row] |= cpu_masks_[sequence * cpu_rows_ + row - 1];
    }
  }
}

uint64_t Rollouts::candidates(uint32_t sequence, uint32_t largest_rest, uint32_t cpu_milli) const {
  return rest_masks_[sequence * rest_rows_ + rest_row_[largest_rest]] &
         cpu_masks_[sequence * cpu_rows_ + cpu_row_[std::min(cpu_milli / kCpuStep, kCpuRows - 1)]];
}

int32_t Rollouts::value(const State& state) const {
  if (deck_.empty()) return 0;
  return one_dimension_ ? value_one_dimension(state) : value_any(state);
}

int32_t Rollouts::value_one_dimension(const State& state) const {
  std::array<uint16_t, kMaxDevicesPerNode> start{};  // ascending, empty rests left out
  uint32_t devices = 0;
  for (uint32_t i = state.devices; i-- > 0;) {
    const auto rest = static_cast<uint16_t>(rest_permille(state.rests[i]));
    if (rest > 0) start[devices++] = rest;
  }
  int32_t value = 0;
  for (uint32_t sequence = 0; sequence < kSequences; ++sequence) {
    std::array<uint16_t, kMaxDevicesPerNode> rests = start;
    uint32_t count = devices;
    uint32_t cpu = state.cpu_milli();
    uint64_t ahead = ~0ull;
    const Pick* picks = picks_.data() + static_cast<size_t>(sequence) * kSequenceLength;
    while (count > 0) {
      const uint64_t fitting = ahead & candidates(sequence, rests[count - 1], cpu);
      if ((fitting & device_masks_[sequence]) == 0) break;
      const auto at = static_cast<uint32_t>(std::countr_zero(fitting));
      ahead = ~1ull << at;
      const Pick& pick = picks[at];
      if (pick.cpu_milli > cpu) continue;
      if (pick.devices == 0) {
        cpu -= pick.cpu_milli;
        continue;
      }
      if (pick.devices > 1 || pick.need == kWholeRest) {  // whole ones are at the end
        if (pick.devices > count || rests[count - pick.devices] < pick.need) continue;
        count -= pick.devices;
        value += pick.devices * pick.need;
      } else {
        uint32_t fit = 0;
        while (rests[fit] < pick.need) ++fit;
        const auto left = static_cast<uint16_t>(rests[fit] - pick.need);
        for (; fit > 0 && rests[fit - 1] > left; --fit) rests[fit] = rests[fit - 1];
        rests[fit] = left;
        value += pick.need;
      }
      cpu -= pick.cpu_milli;
    }
  }
  return value;
}

int32_t Rollouts::value_any(const State& state) const {
  int32_t value = 0;
  for (uint32_t sequence = 0; sequence < kSequences; ++sequence) {
    std::array<uint16_t, kMaxDevicesPerNode> compute{};
    std::array<uint16_t, kMaxDevicesPerNode> memory{};
    for (uint32_t i = 0; i < state.devices; ++i) {
      compute[i] = static_cast<uint16_t>(rest_permille(state.rests[i]));
      memory[i] = static_cast<uint16_t>(memory_permille(rest_memory(state.rests[i])));
    }
    uint32_t cpu = state.cpu_milli();
    uint64_t ahead = ~0ull;
    for (;;) {
      const uint32_t largest = *std::ranges::max_element(compute);
      const uint64_t fitting = ahead & candidates(sequence, largest, cpu);
      if ((fitting & device_masks_[sequence]) == 0) break;
      const auto at = static_cast<uint32_t>(std::countr_zero(fitting));
      ahead = ~1ull << at;
      const Entry& entry = mix_[deck_[sequence * kSequenceLength + at]];
      if (entry.cpu_milli > cpu) continue;
      uint32_t taken = 0;
      uint32_t chosen = 0;
      for (; taken < entry.devices; ++taken) {  // each time the device with the least left
        uint32_t best = kMaxDevicesPerNode;
        for (uint32_t i = 0; i < state.devices; ++i) {
          const Need& need = entry.needs[group_of_[i]];
          if (!need.allowed || (chosen >> i & 1) != 0 || compute[i] < need.compute || memory[i] < need.memory)
            continue;
          if (best == kMaxDevicesPerNode || compute[i] + memory[i] < compute[best] + memory[best]) best = i;
        }
        if (best == kMaxDevicesPerNode) break;
        chosen |= 1u << best;
      }
      if (taken < entry.devices) continue;
      cpu -= entry.cpu_milli;
      for (; chosen != 0; chosen &= chosen - 1) {
        const auto i = static_cast<uint32_t>(std::countr_zero(chosen));
        const Need& need = entry.needs[group_of_[i]];
        compute[i] = static_cast<uint16_t>(compute[i] - need.compute);
        memory[i] = static_cast<uint16_t>(memory[i] - need.memory);
        value += need.size();
      }
    }
  }
  return value;
}

bool Rollouts::same_as(const Rollouts& other) const {
  return one_dimension_ == other.one_dimension_ && mix_ == other.mix_ &&
         (one_dimension_ || group_of_ == other.group_of_);
}

}  // namespace tweendeck::placement::fragmentation

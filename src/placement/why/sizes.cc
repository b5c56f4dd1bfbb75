#include "placement/why/sizes.h"

#include <algorithm>

namespace tweendeck::placement {
namespace {

template <bool kMemory, bool kRounded, bool kCut, bool kMask>
void add_column(const Column& column, size_t begin, size_t rows, const SizeAsk& ask, Sums& sums, Row& lacks) {
  const int16_t* __restrict compute = column.compute.data() + begin;
  const int16_t* __restrict memory = column.memory.data() + begin;
  const int16_t* __restrict rest = column.rest.data() + begin;
  const uint16_t* __restrict profiles = column.profiles.data() + begin;
  int16_t* __restrict fit = sums.fit.data();
  int16_t* __restrict with_memory = sums.with_memory.data();
  uint16_t* __restrict mask = sums.mask.data();
  int16_t* __restrict lack = lacks.data();
  const int16_t asked_compute = ask.compute;
  const int16_t asked_memory = ask.memory;
  const int16_t asked_rest = ask.rest;
  const auto just_below = static_cast<int16_t>(ask.memory - 1);
  const uint32_t device = ask.device;
  for (size_t i = 0; i < rows; ++i) {
    int16_t have = kMemory ? memory[i] : int16_t{0};
    if constexpr (kRounded) {
      const auto enough = static_cast<int16_t>((have == just_below) & (rest[i] >= asked_rest));
      have = static_cast<int16_t>(have + enough);
    }
    const auto compute_lack = static_cast<int16_t>(asked_compute - compute[i]);
    // Who asks for none has enough of it on every open device, and only those are looked at.
    const auto memory_lack = static_cast<int16_t>(kMemory ? asked_memory - have : 0);
    const auto units = static_cast<uint16_t>(memory_lack > 0 ? memory_lack : 0);
    const auto lacks_memory = static_cast<int16_t>(memory_lack > 0);
    const auto permille = static_cast<int16_t>((static_cast<uint32_t>(units) * ask.scale >> 16) +
                                               static_cast<uint16_t>(lacks_memory));
    auto has_memory = static_cast<int16_t>(memory_lack <= 0);
    auto fits = static_cast<int16_t>(compute_lack <= 0 ? has_memory : 0);
    if constexpr (kCut) {
      const auto has_partition = static_cast<int16_t>((profiles[i] & ask.profile) != 0);
      has_memory =
          static_cast<int16_t>(has_memory & (static_cast<int16_t>(compute_lack > 0) | has_partition));
      fits = static_cast<int16_t>(fits & has_partition);
    }
    fit[i] = static_cast<int16_t>(fit[i] + fits);
    with_memory[i] = static_cast<int16_t>(with_memory[i] + has_memory);
    lack[i] = std::max<int16_t>(std::max<int16_t>(compute_lack, 0), permille);
    if constexpr (kMask) mask[i] = static_cast<uint16_t>(mask[i] | static_cast<uint16_t>(fits) << device);
  }
}

// What is free below a unit may be enough or not: both are as much as far as they are known, and neither is known fully.
void add_unsure(const Column& column, size_t begin, size_t rows, const SizeAsk& ask, Sums& sums) {
  const int16_t* __restrict memory = column.memory.data() + begin;
  const int16_t* __restrict rest = column.rest.data() + begin;
  int16_t* __restrict unsure = sums.unsure.data();
  for (size_t i = 0; i < rows; ++i)
    unsure[i] = static_cast<int16_t>(unsure[i] | ((memory[i] == ask.memory - 1) & (rest[i] == ask.rest)));
}

void order(int16_t* __restrict a, int16_t* __restrict b, size_t rows) {
  for (size_t i = 0; i < rows; ++i) {
    const int16_t low = std::min(a[i], b[i]);
    const int16_t high = std::max(a[i], b[i]);
    a[i] = low;
    b[i] = high;
  }
}

using AddColumn = void (*)(const Column&, size_t, size_t, const SizeAsk&, Sums&, Row&);
template <bool kMemory, bool kRounded>
AddColumn add_column_for(bool cut, bool mask) {
  if (cut)
    return mask ? add_column<kMemory, kRounded, true, true> : add_column<kMemory, kRounded, true, false>;
  return mask ? add_column<kMemory, kRounded, false, true> : add_column<kMemory, kRounded, false, false>;
}

// Where a partition may lack, whoever asks for no memory must not count closed devices as having it.
AddColumn add_column_for(const SizeAsk& ask, bool any_cut, bool mask) {
  const bool cut = ask.profile != 0;
  if (ask.rounded) return add_column_for<true, true>(cut, mask);
  return ask.memory > 0 || any_cut ? add_column_for<true, false>(cut, mask)
                                   : add_column_for<false, false>(cut, mask);
}

}  // namespace

SizeAsk size_ask(const MemoryUnit& unit, uint32_t device, const SliceSize& size) {
  SizeAsk ask;
  ask.device = device;
  ask.compute = static_cast<int16_t>(size.compute_permille);
  ask.memory = static_cast<int16_t>(units_of_ask(unit, size.memory_bytes));
  ask.scale = static_cast<uint16_t>(unit.scale);
  if (size.profile != kNoProfile) ask.profile = static_cast<uint16_t>(1u << size.profile);
  ask.rounded = (size.memory_bytes & ((1ull << unit.shift) - 1)) != 0;
  ask.rest = rest_of(unit, size.memory_bytes);
  ask.inexact = (ask.rest & 1) != 0;
  return ask;
}

void add_devices(const Segment& segment, size_t begin, size_t rows, std::span<const SizeAsk> asks,
                 bool with_mask, Sums& sums) {
  sums.fit.fill(0);
  sums.with_memory.fill(0);
  sums.unsure.fill(0);
  if (with_mask) sums.mask.fill(0);
  const bool any_cut = std::ranges::any_of(asks, [](const SizeAsk& ask) { return ask.profile != 0; });
  for (size_t i = 0; i < asks.size(); ++i) {
    const SizeAsk& ask = asks[i];
    const Column& column = segment.columns[ask.device];
    add_column_for(ask, any_cut, with_mask)(column, begin, rows, ask, sums, sums.lacks[i]);
    if (ask.inexact) add_unsure(column, begin, rows, ask, sums);
  }
}

void count_bits(const uint16_t* __restrict masks, uint16_t of, size_t rows, Row& counts) {
  int16_t* __restrict count = counts.data();
  for (size_t i = 0; i < rows; ++i) {
    auto bits = static_cast<uint16_t>(masks[i] & of);
    bits = static_cast<uint16_t>(bits - (bits >> 1 & 0x5555));
    bits = static_cast<uint16_t>((bits & 0x3333) + (bits >> 2 & 0x3333));
    bits = static_cast<uint16_t>((bits + (bits >> 4)) & 0x0f0f);
    count[i] = static_cast<int16_t>((bits + (bits >> 8)) & 0x1f);
  }
}

// The sum of the `wanted` smallest of the first `columns` lacks: of each row the smallest are brought to the front, or
// the largest to the back, whichever are fewer.
void add_up(Sums& sums, size_t columns, size_t wanted, size_t rows) {
  int16_t* __restrict sum = sums.shortfall.data();
  if (wanted == 1) {  // nearly every claim: without moving anything
    sums.shortfall = sums.lacks[0];
    for (size_t column = 1; column < columns; ++column) {
      const int16_t* __restrict lack = sums.lacks[column].data();
      for (size_t i = 0; i < rows; ++i) sum[i] = std::min(sum[i], lack[i]);
    }
    return;
  }
  sums.shortfall.fill(0);
  if (wanted <= columns - wanted) {
    for (size_t done = 0; done < wanted; ++done) {
      for (size_t i = columns - 1; i > done; --i) order(sums.lacks[i - 1].data(), sums.lacks[i].data(), rows);
    }
  } else {
    for (size_t done = columns; done > wanted; --done) {
      for (size_t i = 1; i < done; ++i) order(sums.lacks[i - 1].data(), sums.lacks[i].data(), rows);
    }
  }
  for (size_t column = 0; column < wanted; ++column) {
    const int16_t* __restrict lack = sums.lacks[column].data();
    for (size_t i = 0; i < rows; ++i) sum[i] = static_cast<int16_t>(sum[i] + lack[i]);
  }
}

void find_lacking_sizes(const Sums& sums, const Row& open, int16_t wanted, size_t rows, Lacking& lacking) {
  const int16_t* __restrict fit = sums.fit.data();
  const int16_t* __restrict unsure = sums.unsure.data();
  const int16_t* __restrict opened = open.data();
  int16_t* __restrict among = lacking.rows.data();
  int16_t count = 0;
  int16_t most = -1;  // that fit
  for (size_t i = 0; i < rows; ++i) {
    const auto is = static_cast<int16_t>(static_cast<int16_t>(fit[i] < wanted) &
                                         static_cast<int16_t>(opened[i] >= wanted) &
                                         static_cast<int16_t>(unsure[i] == 0));
    among[i] = is;
    count = static_cast<int16_t>(count + is);
    const int16_t candidate = is != 0 ? fit[i] : int16_t{-1};
    most = candidate > most ? candidate : most;
  }
  lacking.count = count;
  lacking.missing = count == 0 ? kNothing : static_cast<int16_t>(wanted - most);
}

void find_held(const Sums& sums, const Row& open, const Row& usable, int16_t wanted, size_t rows,
               Lacking& lacking) {
  const int16_t* __restrict fit = sums.fit.data();
  const int16_t* __restrict unsure = sums.unsure.data();
  const int16_t* __restrict opened = open.data();
  const int16_t* __restrict used = usable.data();
  int16_t* __restrict among = lacking.rows.data();
  int16_t count = 0;
  int16_t most = -1;
  for (size_t i = 0; i < rows; ++i) {
    const auto is = static_cast<int16_t>(
        static_cast<int16_t>(fit[i] < wanted) & static_cast<int16_t>(opened[i] < wanted) &
        static_cast<int16_t>(used[i] >= wanted) & static_cast<int16_t>(unsure[i] == 0));
    among[i] = is;
    count = static_cast<int16_t>(count + is);
    const int16_t candidate = is != 0 ? fit[i] : int16_t{-1};
    most = candidate > most ? candidate : most;
  }
  lacking.count = count;
  lacking.missing = count == 0 ? kNothing : static_cast<int16_t>(wanted - most);
}

BySize by_size(const Sums& sums, const Lacking& lacking, int16_t wanted, bool cut, size_t rows) {
  const int16_t* __restrict with_memory = sums.with_memory.data();
  const int16_t* __restrict shortfall = sums.shortfall.data();
  const int16_t* __restrict among = lacking.rows.data();
  int16_t memory = 0;
  int16_t partitions = 0;
  for (size_t i = 0; cut && i < rows; ++i) {
    const auto sized = static_cast<int16_t>(among[i] & static_cast<int16_t>(shortfall[i] != 0));
    partitions = static_cast<int16_t>(partitions + (among[i] - sized));
    memory = static_cast<int16_t>(memory + (sized & static_cast<int16_t>(with_memory[i] < wanted)));
  }
  for (size_t i = 0; !cut && i < rows; ++i)
    memory = static_cast<int16_t>(memory + (among[i] & static_cast<int16_t>(with_memory[i] < wanted)));
  return {memory, static_cast<int16_t>(lacking.count - memory - partitions), partitions};
}

int16_t least_shortfall(const Sums& sums, const Lacking& lacking, int16_t wanted, size_t rows) {
  const int16_t* __restrict fit = sums.fit.data();
  const int16_t* __restrict shortfall = sums.shortfall.data();
  const int16_t* __restrict among = lacking.rows.data();
  const auto fit_of_fewest = static_cast<int16_t>(wanted - lacking.missing);
  int16_t least = kNothing;
  for (size_t i = 0; i < rows; ++i) {
    const auto here = static_cast<int16_t>(static_cast<int16_t>(fit[i] == fit_of_fewest) & among[i]);
    const int16_t candidate = here != 0 ? shortfall[i] : kNothing;
    least = candidate < least ? candidate : least;
  }
  return least;
}

}  // namespace tweendeck::placement

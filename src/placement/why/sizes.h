// What the devices of a few hundred nodes lack of the sizes that a claim asks for: loops without branches that compilers
// turn into vector code. Private to placement/why.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "placement/why/columns.h"

namespace tweendeck::placement {

inline constexpr size_t kChunk = 512;  // rows whose sums stay in the first-level cache
inline constexpr int16_t kNothing = INT16_MAX;

using Row = std::array<int16_t, kChunk>;

// What a claim asks of one device.
struct SizeAsk {
  uint32_t device = 0;
  int16_t compute = 0;
  int16_t memory = 0;    // units, rounded up
  int16_t rest = 0;      // rest_of what was asked; if `rounded`
  uint16_t scale = 0;    // as in MemoryUnit
  uint16_t profile = 0;  // its bit; 0 = no partition
  bool rounded = false;
  bool inexact = false;  // `rest` does not say all
};
SizeAsk size_ask(const MemoryUnit& unit, uint32_t device, const SliceSize& size);

struct Sums {       // of the devices of each row that are asked
  Row fit;          // how many have room
  Row with_memory;  // how many have room or lack compute only
  Row unsure;       // 1: by rounding; the row must be judged
  Row shortfall;    // permille that those lack together which the claim needs and that lack least: see add_up
  std::array<uint16_t, kChunk> mask;          // bits of those that have room; only if it was asked for
  std::array<Row, kMaxDevicesPerNode> lacks;  // of each device asked; 0 = it has room or lacks a partition
};

// Rows begin .. begin + rows - 1, at most kChunk: all of the sums but the shortfall. Of `asks` at least one.
void add_devices(const Segment& segment, size_t begin, size_t rows, std::span<const SizeAsk> asks,
                 bool with_mask, Sums& sums);
// The shortfall then, of the first `asked` lacks. Moves the lacks about.
void add_up(Sums& sums, size_t asked, size_t wanted, size_t rows);

// How many of these bits each row has.
void count_bits(const uint16_t* masks, uint16_t of, size_t rows, Row& counts);

// Rows that lack devices for one reason: how many, and which lack the fewest.
struct Lacking {
  Row rows;  // 1 = such a row
  int16_t count = 0;
  int16_t missing = kNothing;  // the fewest devices
};
// Too few devices have room, but enough are `open`: they lack sizes.
void find_lacking_sizes(const Sums& sums, const Row& open, int16_t wanted, size_t rows, Lacking& lacking);
// Too few are open, but enough are `usable`: some are held.
void find_held(const Sums& sums, const Row& open, const Row& usable, int16_t wanted, size_t rows,
               Lacking& lacking);

// Of those that lack sizes.
struct BySize {
  int16_t memory = 0;
  int16_t compute = 0;
  int16_t partitions = 0;  // needs the shortfalls
};
BySize by_size(const Sums& sums, const Lacking& lacking, int16_t wanted, bool cut, size_t rows);

// The least shortfall of those that lack the fewest devices.
int16_t least_shortfall(const Sums& sums, const Lacking& lacking, int16_t wanted, size_t rows);

}  // namespace tweendeck::placement

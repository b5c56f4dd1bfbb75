// Divides an amount among children of a queue: first everybody's guarantee as far as it is wanted, then the rest
// by weight until wants are met (weighted max-min fairness: the water level rises for all, a child that is full
// leaves the pool). What KAI and Kueue call over-quota share and borrowing.
//
// Exact in integers: the parts add up to min(amount, what is wanted and may be had), and each part is its exact
// share rounded up or down (largest remainders are rounded up, ties to the first). A larger weight never makes a
// part smaller. O(children), expected.
#pragma once

#include <cstdint>
#include <span>

namespace tweendeck::placement {

inline constexpr uint64_t kMaxWeight = 1'000'000'000;  // of one child, so that products stay within 128 bits

struct Want {
  int64_t guaranteed = 0;
  int64_t request = 0;  // what it could use now
  uint64_t weight = 0;  // of the rest; 0 = nothing beyond the guarantee
};

// `parts` has the size of `wants`. Where the guarantees alone pass the amount, it is divided in proportion to them.
void water_fill(int64_t amount, std::span<const Want> wants, std::span<int64_t> parts);

}  // namespace tweendeck::placement

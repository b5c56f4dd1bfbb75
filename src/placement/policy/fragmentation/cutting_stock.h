// What the rest of a device is worth to the slices that come: dual prices of the cutting stock problem.
//
// Slices of the learned sizes are cut from whole devices. The linear program "fewest devices for this demand" has a
// price per size: the share of a device that one more slice of it costs. A rest is worth the dearest set of slices
// that fits into it, so 0.19 is worth nothing where only 0.47 and 0.81 come, and half a device is worth half.
// Column generation: Gilmore and Gomory, "A Linear Programming Approach to the Cutting-Stock Problem", 1961.
//
// Sizes are in hundredths of a device, prices in thousandths. The program is solved in doubles with +, -, * and /
// only (exact on every IEEE machine as long as no product and sum are fused, see CMakeLists.txt) and rounded once.
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

namespace tweendeck::placement::fragmentation {

inline constexpr uint32_t kStockUnits = 100;  // of a whole device
constexpr uint32_t units_up(uint32_t permille) {
  return (permille * kStockUnits + 999) / 1000;
}
constexpr uint32_t units_down(uint32_t permille) {
  return permille * kStockUnits / 1000;
}

struct SizeDemand {
  uint32_t units = 0;  // 1 ... kStockUnits - 1
  uint64_t count = 0;
};

struct RestPrices {
  std::array<uint16_t, kStockUnits + 1>
      rest{};  // worth of a rest, 1000 = a whole device; grows with the rest
  std::array<uint16_t, kStockUnits + 1>
      size{};  // price of a slice of a learned size, else the worth of that rest
};

// `demand`: each size once, every count above 0. Without demand a rest is worth nothing and a device 1000.
RestPrices price_rests(std::span<const SizeDemand> demand);

}  // namespace tweendeck::placement::fragmentation

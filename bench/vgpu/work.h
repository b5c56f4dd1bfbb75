// What tenant and judge must agree on.
#pragma once

#include <cstdint>

namespace tweendeck::bench {

// Kernels in the tenant's graph: many short ones or a few long ones, as real graphs are.
constexpr uint64_t graph_kernels(uint64_t kernel_ns) {
  constexpr uint64_t kShortNs = 1'000'000;
  return kernel_ns <= kShortNs ? 8 : 2;
}

}  // namespace tweendeck::bench

// Amounts of what queues share: one integer per resource. The first three exist always, the others are device
// counts of one model each and get their number when a queue first names the model.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>

namespace tweendeck::placement {

inline constexpr size_t kMaxResources = 16;  // 3 and 13 models; a queue that names more is refused

enum Resource : uint8_t {
  kDevices = 0,  // slices: a claim for two devices counts two
  kMemory = 1,   // bytes of device memory
  kCompute = 2,  // permille of devices
  kFirstModel = 3,
};

using Amounts = std::array<int64_t, kMaxResources>;

inline constexpr int64_t kUnlimited = INT64_MAX;

inline void add(Amounts& to, const Amounts& what) {
  for (size_t r = 0; r < kMaxResources; ++r) to[r] += what[r];
}
inline void subtract(Amounts& from, const Amounts& what) {
  for (size_t r = 0; r < kMaxResources; ++r) from[r] -= what[r];
}

}  // namespace tweendeck::placement

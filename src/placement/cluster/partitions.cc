#include "placement/cluster/partitions.h"

namespace tweendeck::placement {

uint32_t partition_options(uint8_t used, const std::vector<PartitionProfile>& profiles) {
  uint32_t options = 0;
  for (const PartitionProfile& profile : profiles) {
    for (uint32_t start = 0; start < kMaxPartitionSlots; ++start) {
      options += partition_free(used, profile, start) ? 1 : 0;
    }
  }
  return options;
}

std::optional<uint8_t> partition_start(uint8_t used, const std::vector<PartitionProfile>& profiles,
                                       uint32_t profile) {
  std::optional<uint8_t> best;
  uint32_t best_left = 0;
  uint32_t best_options = 0;
  for (uint32_t start = 0; start < kMaxPartitionSlots; ++start) {
    if (!partition_free(used, profiles[profile], start)) continue;
    const auto after = static_cast<uint8_t>(used | partition_bits(profiles[profile], start));
    const uint32_t left = partitions_left(after, profiles[profile]);
    const uint32_t options = partition_options(after, profiles);
    if (best && (left < best_left || (left == best_left && options < best_options))) continue;
    best = static_cast<uint8_t>(start);
    best_left = left;
    best_options = options;
  }
  return best;
}

// All partitions of a profile are equally long, so taking the first start that is free is optimal (interval
// scheduling by earliest end).
uint32_t partitions_left(uint8_t used, const PartitionProfile& profile) {
  uint32_t count = 0;
  for (uint32_t start = 0; start < kMaxPartitionSlots; ++start) {
    if (!partition_free(used, profile, start)) continue;
    used |= partition_bits(profile, start);
    ++count;
  }
  return count;
}

}  // namespace tweendeck::placement

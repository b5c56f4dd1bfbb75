// The slots of a device that hardware cuts into partitions (MIG). A set of slots is one bit per slot. Pure.
//
// Where a partition may begin at several slots, the start is taken that leaves room for most partitions of the
// same profile, so that `partitions_left` comes true, and of those the one that leaves most (profile, start) pairs
// possible, so that small partitions do not stand where a large one could; ties go to the highest start.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "placement/cluster/facts.h"

namespace tweendeck::placement {

inline uint8_t partition_bits(const PartitionProfile& profile, uint32_t start) {
  return static_cast<uint8_t>(((1u << profile.slots) - 1) << start);
}

inline bool partition_free(uint8_t used, const PartitionProfile& profile, uint32_t start) {
  return start < kMaxPartitionSlots && (profile.starts >> start & 1) != 0 &&
         (used & partition_bits(profile, start)) == 0;
}

// How many (profile, start) pairs are still possible.
uint32_t partition_options(uint8_t used, const std::vector<PartitionProfile>& profiles);

// Where a partition of profiles[profile] goes; nothing when there is no room.
std::optional<uint8_t> partition_start(uint8_t used, const std::vector<PartitionProfile>& profiles,
                                       uint32_t profile);

// The most partitions of this profile that fit beside what is used.
uint32_t partitions_left(uint8_t used, const PartitionProfile& profile);

}  // namespace tweendeck::placement

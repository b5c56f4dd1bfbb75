// How CPU percent become kernel numbers, for both cgroup versions. Pure.
//
// A quota only caps; what guarantees a slice its share against other load is weight. Slices among themselves
// weigh what they may use. Their common base group weighs as much as kBaseTasksPerCpu ordinary busy tasks on
// each CPU, so that a slice keeps its share beside a build, while the daemon and the rest of the machine
// still run when all slices are busy.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "device/cgroup/groups.h"

namespace tweendeck::device {

inline constexpr uint64_t kBaseTasksPerCpu = 16;
inline constexpr uint64_t kSharesPerCpu = 1024;  // v1: one ordinary task
inline constexpr uint64_t kMaxShares = 262'144;
inline constexpr uint64_t kMinShares = 2;
inline constexpr uint64_t kWeightPerCpu = 100;  // v2: one ordinary task
inline constexpr uint64_t kMaxWeight = 10'000;

constexpr uint64_t base_shares(size_t cpus) {
  return std::clamp(kBaseTasksPerCpu * kSharesPerCpu * cpus, kSharesPerCpu, kMaxShares);
}
constexpr uint64_t slice_shares(uint64_t cpu_milli) {
  return std::clamp(kSharesPerCpu * cpu_milli / 1000, kMinShares, kMaxShares);
}
constexpr uint64_t base_weight(size_t cpus) {
  return std::clamp(kBaseTasksPerCpu * kWeightPerCpu * cpus, kWeightPerCpu, kMaxWeight);
}
constexpr uint64_t slice_weight(uint64_t cpu_milli) {
  return std::clamp<uint64_t>(kWeightPerCpu * cpu_milli / 1000, 1, kMaxWeight);
}
constexpr uint64_t cpu_quota_us(uint64_t cpu_milli) {
  return std::max(kMinCpuQuotaUs, cpu_milli * kCpuPeriodUs / 1000);
}

// How many numbers a kernel list like "0-3,8" names; at least 1.
size_t cpu_list_size(std::string_view list);

}  // namespace tweendeck::device

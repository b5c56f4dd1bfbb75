#include "placement/policy/fragmentation/grid.h"

#include <algorithm>
#include <bit>
#include <map>

namespace tweendeck::placement::fragmentation {
namespace {

constexpr uint64_t kCommonPermille = 990;  // sizes of this share of the slices are told apart

}  // namespace

Grid::Grid() {
  for (uint32_t rest = 0; rest <= kWholeRest; ++rest) rounded_[rest] = static_cast<uint16_t>(rest);
}

Grid Grid::learn(const Demand& demand, std::span<const Kind> kinds) {
  Grid grid;
  std::map<uint32_t, uint64_t> counts;  // by size
  uint64_t total = 0;
  for (KindId id = 0; id < kinds.size(); ++id) {
    const Kind& kind = kinds[id];
    const uint64_t count = demand.count(id);
    if (count == 0 || kind.devices == 0) continue;
    if (kind.request.memory_bytes > 0 || kind.request.memory_percent > 0) grid.memory_counts_ = true;
    const uint32_t size = kind.request.compute_permille;
    if (size == 0 || size >= kWholeRest) continue;
    counts[size] += count;
    total += count;
  }
  std::vector<std::pair<uint64_t, uint32_t>> frequent;
  for (const auto& [size, count] : counts) frequent.emplace_back(count, size);
  std::ranges::sort(frequent, [](const auto& a, const auto& b) {
    return a.first != b.first ? a.first > b.first : a.second < b.second;
  });
  std::vector<uint32_t> sizes;
  uint64_t covered = 0;
  for (const auto& [count, size] : frequent) {
    sizes.push_back(size);
    covered += count;
    if (covered * 1000 >= total * kCommonPermille) break;
  }
  std::array<bool, kWholeRest + 1> sum{};
  sum[0] = true;
  uint32_t last = 0;
  for (uint32_t rest = 1; rest < kWholeRest; ++rest) {
    sum[rest] = std::ranges::any_of(sizes, [&](uint32_t size) { return size <= rest && sum[rest - size]; });
    if (sum[rest]) last = rest;
    grid.rounded_[rest] = static_cast<uint16_t>(last);
  }
  return grid;
}

Rest Grid::rest_of(const DeviceFacts& device, const NodeState& node, uint32_t bit) const {
  if ((node.open >> bit & 1) == 0) return 0;
  if (!device.partitions.empty()) {
    const auto free = static_cast<uint32_t>(8 - std::popcount(node.partition_slots[bit]));
    return make_rest(free * kWholeRest / kMaxPartitionSlots, kMemorySteps);
  }
  uint32_t steps = kMemorySteps;
  if (memory_counts_ && device.memory_bytes > 0) {
    const uint64_t step = std::max<uint64_t>(1, device.memory_bytes / kMemorySteps);
    steps = static_cast<uint32_t>(std::min<uint64_t>(
        kMemorySteps, static_cast<uint64_t>(std::max<int64_t>(0, node.memory_free[bit])) / step));
  }
  return make_rest(rounded_[std::min<uint32_t>(node.compute_free[bit], kWholeRest)], steps);
}

State Grid::state_of(const Catalog& catalog, const Cluster& cluster, const NodeState& node) const {
  const TypeView& type = catalog.types()[node.type];
  const std::vector<DeviceFacts>& devices = cluster.types()[node.type].facts.devices;
  State state;
  state.type = node.type;
  state.cpu = static_cast<uint16_t>(
      std::min<uint32_t>(UINT16_MAX, static_cast<uint32_t>(std::max(0, node.cpu_free_milli)) / kCpuStep));
  state.devices = static_cast<uint8_t>(type.devices);
  for (uint32_t position = 0; position < type.devices; ++position) {
    const uint32_t bit = type.device_at[position];
    const Rest rest = rest_of(devices[bit], node, bit);
    uint32_t at = position;  // insertion sort within the group, largest first
    for (; at > type.group_begin[type.group_of[position]] && state.rests[at - 1] < rest; --at) {
      state.rests[at] = state.rests[at - 1];
    }
    state.rests[at] = rest;
  }
  return state;
}

}  // namespace tweendeck::placement::fragmentation

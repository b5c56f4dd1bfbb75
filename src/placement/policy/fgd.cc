#include "placement/policy/fgd.h"

#include <algorithm>
#include <bit>

#include "placement/policy/device_choice.h"

namespace tweendeck::placement {
namespace {

// Capacities that fullness is measured by: those of the largest machines of the published experiment.
constexpr int64_t kLargestCpuMilli = 128'000;
constexpr int64_t kLargestDevices = 8'000;
constexpr int64_t kFullnessSteps = 4096;  // more than fullness has

int64_t floor_div(int64_t value, int64_t by) {
  return value >= 0 ? value / by : -((-value + by - 1) / by);
}

}  // namespace

FgdScorer::FgdScorer() : memo_(kFgdMemo) {}

void FgdScorer::set_typical(std::span<const std::pair<ShapeId, uint64_t>> mix) {
  given_ = true;
  typical_.clear();
  total_ = 0;
  for (const auto& [shape, count] : mix.first(std::min(mix.size(), kFgdMaxTypical))) {
    typical_.push_back({shape, count});
    total_ += count;
  }
  ++epoch_;
}

void FgdScorer::arrived(ShapeId shape) {
  if (shape >= arrivals_.size()) arrivals_.resize(shape + 1, 0);
  ++arrivals_[shape];
  ++arrived_;
}

// The most frequent shapes, equal numbers by age, until they cover enough of what arrived.
void FgdScorer::learn() {
  std::vector<ShapeId> order;
  for (ShapeId shape = 0; shape < arrivals_.size(); ++shape) {
    if (arrivals_[shape] > 0) order.push_back(shape);
  }
  std::ranges::sort(order, [&](ShapeId a, ShapeId b) {
    return arrivals_[a] != arrivals_[b] ? arrivals_[a] > arrivals_[b] : a < b;
  });
  typical_.clear();
  total_ = 0;
  for (const ShapeId shape : order) {
    if (total_ * 100 >= arrived_ * kFgdCoveredPercent || typical_.size() == kFgdMaxTypical) break;
    typical_.push_back({shape, arrivals_[shape]});
    total_ += arrivals_[shape];
  }
  ++epoch_;
}

uint64_t FgdScorer::epoch(const Cluster&) {
  if (!given_ && arrived_ >= next_learning_) {
    learn();
    next_learning_ = arrived_ + arrived_ / 2;
  }
  if (epoch_ != memo_epoch_) {
    memo_.assign(kFgdMemo, {});
    memo_epoch_ = epoch_;
  }
  return epoch_;
}

FgdScorer::State FgdScorer::state_of(const Cluster& cluster, NodeIndex index) const {
  const NodeState& node = cluster.nodes()[index];
  State state{node.cpu_free_milli, node.type, node.usable, {}};
  for (uint32_t rest = node.usable; rest != 0; rest &= rest - 1) {
    const auto device = static_cast<uint32_t>(std::countr_zero(rest));
    state.rests[device] = static_cast<uint16_t>(device_rest(node, cluster.types()[node.type], device));
  }
  return state;
}

uint32_t FgdScorer::slice_permille(const Cluster& cluster, uint16_t type, ShapeId shape,
                                   uint32_t device) const {
  const SliceSize size = cluster.slice_size(type, shape, device);
  const uint64_t memory = cluster.types()[type].facts.devices[device].memory_bytes >> 20;
  const uint64_t share = memory == 0 ? 0 : (size.memory_bytes >> 20) * kWholeCompute / memory;
  return static_cast<uint32_t>(std::max<uint64_t>(size.compute_permille, share));
}

int64_t FgdScorer::fragment_now(const Cluster& cluster, const State& state) const {
  int64_t idle = 0;
  for (const uint16_t rest : state.rests) idle += rest;
  if (idle == 0) return 0;
  int64_t sum = 0;
  for (const Typical& typical : typical_) {
    const Request& request = cluster.shape(typical.shape).request;
    int64_t too_small = 0;
    uint32_t room = 0;
    if (request.devices > 0 && static_cast<int64_t>(request.cpu_milli) <= state.cpu_free_milli) {
      const uint16_t allowed = cluster.allowed_devices(state.type, typical.shape) & state.usable;
      for (uint32_t device = 0; device < kMaxDevicesPerNode; ++device) {
        if (state.rests[device] == 0) continue;
        const bool fits = (allowed >> device & 1) != 0 &&
                          state.rests[device] >= slice_permille(cluster, state.type, typical.shape, device);
        room += fits ? 1 : 0;
        too_small += fits ? 0 : state.rests[device];
      }
    }
    const bool runs = request.devices > 0 && room >= request.devices;
    sum += static_cast<int64_t>(typical.count) * (runs ? too_small : idle);
  }
  return sum;
}

int64_t FgdScorer::fragment(const Cluster& cluster, const State& state) {
  uint64_t hash =
      static_cast<uint64_t>(state.cpu_free_milli) << 32 | uint64_t{state.type} << 16 | state.usable;
  for (const uint16_t rest : state.rests) hash = (hash ^ rest) * 0x9e3779b97f4a7c15ull;
  Remembered& entry = memo_[(hash ^ hash >> 32) & (kFgdMemo - 1)];
  if (entry.fragment < 0 || entry.state != state) entry = {state, fragment_now(cluster, state)};
  return entry.fragment;
}

void FgdScorer::take_out(const Cluster& cluster, State& state, ShapeId shape, uint16_t devices) const {
  state.cpu_free_milli -= static_cast<int32_t>(cluster.shape(shape).request.cpu_milli);
  for (uint32_t rest = devices; rest != 0; rest &= rest - 1) {
    const auto device = static_cast<uint32_t>(std::countr_zero(rest));
    const uint32_t size = slice_permille(cluster, state.type, shape, device);
    state.rests[device] =
        static_cast<uint16_t>(state.rests[device] - std::min<uint32_t>(size, state.rests[device]));
  }
}

std::optional<FgdScorer::Gain> FgdScorer::gain(const Cluster& cluster, NodeIndex node, ShapeId shape) {
  const Request& request = cluster.shape(shape).request;
  const std::optional<uint16_t> fullest = devices_by_key(cluster, node, shape, fullest_first(cluster, node));
  if (!fullest) return std::nullopt;
  Gain gain;
  gain.devices = *fullest;
  const State before = state_of(cluster, node);
  const int64_t fragment_before = total_ == 0 ? 0 : fragment(cluster, before);
  const auto saved = [&](uint16_t devices) {
    State after = before;
    take_out(cluster, after, shape, devices);
    return floor_div(fragment_before - fragment(cluster, after), kFgdQuantum * static_cast<int64_t>(total_));
  };
  if (total_ > 0 && request.devices == 1) {
    // Every device that has room, each rest once; of equal gains the fullest device, which is there first.
    gain.quanta = saved(*fullest);
    uint32_t seen = *fullest;
    for (uint32_t rest = cluster.fitting_devices(node, shape); rest != 0; rest &= rest - 1) {
      const auto device = static_cast<uint32_t>(std::countr_zero(rest));
      bool twin = false;
      for (uint32_t other = seen; other != 0 && !twin; other &= other - 1) {
        twin = before.rests[device] == before.rests[static_cast<uint32_t>(std::countr_zero(other))];
      }
      if (twin) continue;
      seen |= 1u << device;
      const auto bit = static_cast<uint16_t>(1u << device);
      if (const int64_t quanta = saved(bit); quanta > gain.quanta) {
        gain.quanta = quanta;
        gain.devices = bit;
      }
    }
  } else if (total_ > 0) {
    gain.quanta = saved(*fullest);
  }
  State after = before;
  take_out(cluster, after, shape, gain.devices);
  int64_t idle = 0;
  for (const uint16_t rest : after.rests) idle += rest;
  const int64_t left = after.cpu_free_milli * 1000ll / kLargestCpuMilli + idle * 1000 / kLargestDevices;
  gain.fullness = std::clamp<int64_t>(kFullnessSteps - 1 - left, 0, kFullnessSteps - 1);
  return gain;
}

int32_t FgdScorer::score(const Cluster& cluster, NodeIndex node, ShapeId shape) {
  const std::optional<Gain> best = gain(cluster, node, shape);
  if (!best) return kUnfit;
  return static_cast<int32_t>(best->quanta * kFullnessSteps + best->fullness);
}

uint16_t FgdScorer::pick(const Cluster& cluster, NodeIndex node, ShapeId shape) {
  return gain(cluster, node, shape)->devices;
}

std::vector<ScoreTerm> FgdScorer::terms(const Cluster& cluster, ShapeId shape, const Spot& spot) {
  const std::optional<Gain> best = gain(cluster, spot.node, shape);
  if (!best) return {};
  return {{"fragment saved (milli-devices)", best->quanta * kFgdQuantum * 1000},
          {"fullness", best->fullness * 1000 / kFullnessSteps}};
}

}  // namespace tweendeck::placement

// Taking and giving, speculation, and the hash of the book.
#include <bit>

#include "placement/cluster/broken.h"
#include "placement/cluster/cluster.h"
#include "placement/cluster/partitions.h"

namespace tweendeck::placement {
namespace {

// Mixes like SplitMix64's output function, for a hash that is the same everywhere.
uint64_t mix(uint64_t hash, uint64_t value) {
  uint64_t z = (hash ^ value) + 0x9e3779b97f4a7c15ull;
  z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
  z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
  return z ^ (z >> 31);
}

}  // namespace

// The exact inverse of itself, whatever the node's facts have become in between: sizes in bytes and partitions
// of a held device do not change, and memory held in percent is counted apart (see `store`).
void Cluster::book(const Spot& spot, ShapeId shape, bool taken) {
  NodeState& node = nodes_[spot.node];
  Record& record = records_[spot.node];
  const Request& request = shapes_[shape].request;
  const int sign = taken ? 1 : -1;
  node.cpu_free_milli -= sign * static_cast<int32_t>(request.cpu_milli);
  node.memory_free_bytes -= sign * static_cast<int64_t>(request.node_memory_bytes);
  node.claims_held = static_cast<uint32_t>(static_cast<int64_t>(node.claims_held) + sign);
  for (uint32_t rest = spot.devices; rest != 0; rest &= rest - 1) {
    const auto device = static_cast<uint32_t>(std::countr_zero(rest));
    const SliceSize size = slice_size(node.type, shape, device);
    node.compute_free[device] =
        static_cast<uint16_t>(node.compute_free[device] - sign * size.compute_permille);
    node.memory_free[device] -= sign * static_cast<int64_t>(size.memory_bytes);
    node.claims[device] = static_cast<uint16_t>(node.claims[device] + sign);
    if (size.profile != kNoProfile) {
      node.partition_slots[device] ^= partition_bits(
          types_[node.type].facts.devices[device].partitions[size.profile], spot.partition_starts[device]);
    } else if (request.memory_bytes == 0) {
      record.percent_held[device] = static_cast<uint16_t>(record.percent_held[device] +
                                                          sign * static_cast<int>(request.memory_percent));
    }
    if (request.exclusive) {
      const auto bit = static_cast<uint16_t>(1u << device);
      node.exclusive = static_cast<uint16_t>(taken ? node.exclusive | bit : node.exclusive & ~bit);
    }
    refresh_device(node, record, device);
  }
  changed(spot.node);
}

void Cluster::take(const Spot& spot, ShapeId shape) {
  if (!fits(spot, shape)) broken("a claim was to be booked where it does not fit");
  book(spot, shape, true);
  if (!marks_.empty()) journal_.push_back({spot, shape, true});
}

Reason Cluster::slice_problem(const NodeState& node, uint32_t device, ShapeId shape, uint32_t start) const {
  const Request& request = shapes_[shape].request;
  const SliceSize size = slice_size(node.type, shape, device);
  const DeviceFacts& facts = types_[node.type].facts.devices[device];
  const bool alone = (node.exclusive >> device & 1) != 0 || (request.exclusive && node.claims[device] > 0);
  if (alone || node.claims[device] == UINT16_MAX) return Reason::DeviceHeld;
  if (node.compute_free[device] < size.compute_permille) return Reason::InsufficientCompute;
  if (node.memory_free[device] < -static_cast<int64_t>(kMaxMemoryBytes)) return Reason::LimitExceeded;
  if (facts.partitions.empty()) return request.partition.empty() ? Reason::None : Reason::PartitionMismatch;
  if (size.profile == kNoProfile) return Reason::PartitionMismatch;
  return partition_free(node.partition_slots[device], facts.partitions[size.profile], start)
             ? Reason::None
             : Reason::InsufficientPartitions;
}

Reason Cluster::held_problem(const Spot& spot, ShapeId shape) const {
  if (spot.node >= nodes_.size() || !nodes_[spot.node].present) return Reason::NotFound;
  const NodeState& node = nodes_[spot.node];
  const uint16_t there = records_[spot.node].there;
  if ((spot.devices & ~there) != 0) return Reason::NotFound;
  if (std::popcount(spot.devices) != asks_[shape].devices) return Reason::InvalidArgument;
  if (node.cpu_free_milli < -static_cast<int32_t>(kMaxCpuMilli) ||
      node.memory_free_bytes < -static_cast<int64_t>(kMaxMemoryBytes)) {
    return Reason::LimitExceeded;
  }
  for (uint32_t rest = spot.devices; rest != 0; rest &= rest - 1) {
    const auto device = static_cast<uint32_t>(std::countr_zero(rest));
    const Reason problem = slice_problem(node, device, shape, spot.partition_starts[device]);
    if (problem != Reason::None) return problem;
  }
  return Reason::None;
}

void Cluster::take_held(const Spot& spot, ShapeId shape) {
  if (held_problem(spot, shape) != Reason::None) broken("a claim was to be booked where it cannot be");
  book(spot, shape, true);
  if (!marks_.empty()) journal_.push_back({spot, shape, true});
}

void Cluster::give(const Spot& spot, ShapeId shape) {
  if (spot.node >= nodes_.size() || std::popcount(spot.devices) != asks_[shape].devices ||
      nodes_[spot.node].claims_held == 0) {
    broken("a claim was given back that nobody holds");
  }
  const NodeState& node = nodes_[spot.node];
  for (uint32_t rest = spot.devices; rest != 0; rest &= rest - 1) {
    const auto device = static_cast<uint32_t>(std::countr_zero(rest));
    const SliceSize size = device < node.device_count ? slice_size(node.type, shape, device) : SliceSize{};
    const bool exclusive = (node.exclusive >> device & 1) != 0;
    bool held = device < node.device_count && node.claims[device] > 0 &&
                node.compute_free[device] + size.compute_permille <= static_cast<int>(kWholeCompute) &&
                exclusive == shapes_[shape].request.exclusive;
    if (held && size.profile != kNoProfile) {
      const uint8_t bits = partition_bits(types_[node.type].facts.devices[device].partitions[size.profile],
                                          spot.partition_starts[device]);
      held = (node.partition_slots[device] & bits) == bits;
    }
    if (!held) broken("a slice was given back that nobody holds");
  }
  book(spot, shape, false);
  if (!marks_.empty()) journal_.push_back({spot, shape, false});
}

Cluster::Mark Cluster::mark() {
  marks_.push_back(journal_.size());
  return marks_.size() - 1;
}

void Cluster::undo_to(Mark mark) {
  if (mark >= marks_.size()) broken("an undo to a mark that does not stand");
  while (journal_.size() > marks_[mark]) {
    const Change change = journal_.back();
    journal_.pop_back();
    book(change.spot, change.shape, !change.taken);
  }
  marks_.resize(mark);
}

void Cluster::commit(Mark mark) {
  if (mark >= marks_.size()) broken("a commit of a mark that does not stand");
  marks_.resize(mark);
  if (marks_.empty()) journal_.clear();
}

uint64_t Cluster::hash() const {
  uint64_t hash = nodes_.size();
  for (const NodeState& node : nodes_) {
    hash = mix(hash, static_cast<uint64_t>(node.cpu_free_milli));
    hash = mix(hash, static_cast<uint64_t>(node.memory_free_bytes));
    hash = mix(hash, uint64_t{node.usable} | uint64_t{node.open} << 16 | uint64_t{node.whole} << 32 |
                         uint64_t{node.exclusive} << 48);
    hash = mix(hash, uint64_t{node.claims_held} << 8 | uint64_t{node.present} << 1 | uint64_t{node.cordoned});
    for (uint32_t device = 0; device < node.device_count; ++device) {
      hash = mix(hash, static_cast<uint64_t>(node.memory_free[device]));
      hash = mix(hash, uint64_t{node.compute_free[device]} | uint64_t{node.claims[device]} << 16 |
                           uint64_t{node.partition_slots[device]} << 32);
    }
  }
  return hash;
}

}  // namespace tweendeck::placement

#include "placement/why/columns.h"

#include <algorithm>

#include "placement/cluster/partitions.h"

namespace tweendeck::placement {
namespace {

RowKind kind_of(const NodeState& node, const NodeFacts& facts) {
  if (node.cordoned) return RowKind::Cordoned;
  const uint32_t all = (1u << node.device_count) - 1;
  if (node.open == all) return RowKind::Open;
  for (uint32_t device = 0; device < node.device_count; ++device) {
    if ((node.usable >> device & 1) == 0 && facts.devices[device].healthy) return RowKind::Odd;
  }
  return RowKind::Closed;
}

uint16_t profiles_left(uint8_t used, const std::vector<PartitionProfile>& profiles) {
  uint32_t bits = 0;
  for (size_t i = 0; i < profiles.size(); ++i)
    bits |= static_cast<uint32_t>(partitions_left(used, profiles[i]) > 0) << i;
  return static_cast<uint16_t>(bits);
}

// Each column of the rows, whatever it holds.
void for_each_column(Segment& segment, const auto& apply) {
  apply(segment.nodes);
  apply(segment.kinds);
  apply(segment.usable);
  apply(segment.open);
  apply(segment.whole);
  apply(segment.cpu);
  apply(segment.host_memory);
  for (Column& column : segment.columns) {
    apply(column.compute);
    apply(column.memory);
    apply(column.rest);
    apply(column.profiles);
  }
}

}  // namespace

Segment segment_of(const NodeType& type) {
  Segment segment;
  for (const DeviceFacts& device : type.facts.devices)
    segment.columns.push_back({memory_unit(device.memory_bytes), {}, {}, {}, {}});
  return segment;
}

void Segment::add_row(NodeIndex node) {
  for_each_column(*this, [](auto& column) { column.emplace_back(); });
  nodes.back() = node;
}

void Segment::remove_row(size_t row) {
  irregular -= kinds[row] != RowKind::Open;
  out.erase(nodes[row]);
  for_each_column(*this, [row](auto& column) {
    column[row] = column.back();
    column.pop_back();
  });
}

void Segment::write_row(size_t row, const Cluster& cluster, NodeIndex index) {
  const NodeState& node = cluster.nodes()[index];
  const NodeFacts& facts = cluster.facts(index);
  irregular -= kinds[row] != RowKind::Open;
  kinds[row] = kind_of(node, facts);
  irregular += kinds[row] != RowKind::Open;
  const uint32_t all = (1u << node.device_count) - 1;
  if (node.cordoned || node.usable != all) {
    out.insert(index);
  } else if (!out.empty()) {
    out.erase(index);
  }
  const bool odd = kinds[row] == RowKind::Odd;
  usable[row] = odd ? 0 : node.usable;
  open[row] = odd ? 0 : node.open;
  whole[row] = odd ? 0 : node.whole;
  cpu[row] = node.cpu_free_milli;
  host_memory[row] = node.memory_free_bytes;
  for (uint32_t device = 0; device < node.device_count; ++device) {
    Column& column = columns[device];
    const bool is_open = (open[row] >> device & 1) != 0;
    const bool is_held = (usable[row] >> device & 1) != 0;
    const auto free = static_cast<uint64_t>(std::max<int64_t>(0, node.memory_free[device]));
    const int16_t closed = is_held ? -kHeldLack : -kFaultyLack;
    column.compute[row] = is_open ? static_cast<int16_t>(node.compute_free[device]) : closed;
    column.memory[row] = is_open ? static_cast<int16_t>(free >> column.unit.shift) : int16_t{-1};
    column.rest[row] = is_open ? rest_of(column.unit, free) : int16_t{0};
    const auto& profiles = facts.devices[device].partitions;
    column.profiles[row] = profiles.empty() ? 0 : profiles_left(node.partition_slots[device], profiles);
  }
}

}  // namespace tweendeck::placement

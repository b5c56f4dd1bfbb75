// The nodes of one type as columns, one row per node: what the board's passes read. Private to placement/why.
#pragma once

#include <cstdint>
#include <set>
#include <vector>

#include "placement/cluster/cluster.h"
#include "placement/why/judge.h"

namespace tweendeck::placement {

// What a device that is held or faulty lacks, in permille: more than any size can, so that those come last.
inline constexpr int16_t kHeldLack = 2'000;
inline constexpr int16_t kFaultyLack = 8'000;

// Memory below a whole unit: 14 bits of it, and one that says whether there is anything below those.
inline constexpr uint32_t kRestBits = 14;
inline int16_t rest_of(const MemoryUnit& unit, uint64_t bytes) {
  const uint64_t below = bytes & ((1ull << unit.shift) - 1);
  if (unit.shift <= kRestBits) return static_cast<int16_t>(below << (kRestBits - unit.shift) << 1);
  const uint32_t lost = unit.shift - kRestBits;
  const uint64_t more = (below & ((1ull << lost) - 1)) != 0 ? 1 : 0;
  return static_cast<int16_t>(below >> lost << 1 | more);
}

// One device of each node. What is free; of a device that is held or faulty -kHeldLack or -kFaultyLack of compute and
// -1 of memory, so that nothing fits.
struct Column {
  MemoryUnit unit;
  std::vector<int16_t> compute;  // permille
  std::vector<int16_t> memory;   // whole units
  std::vector<int16_t> rest;     // of memory, below a unit
  std::vector<uint16_t>
      profiles;  // bit per partition profile of which one more fits; empty where there are none
};

enum class RowKind : uint8_t {
  Open,      // every device takes claims
  Closed,    // some are held or faulty
  Cordoned,  // the node is
  Odd        // some device is cordoned by itself or shrank below what is held: judged one by one
};

struct Segment {
  std::vector<NodeIndex> nodes;
  std::vector<RowKind> kinds;
  std::vector<uint16_t> usable, open, whole;  // as in NodeState; 0 in an Odd row
  std::vector<int32_t> cpu;                   // free
  std::vector<int64_t> host_memory;           // free
  std::vector<Column> columns;
  size_t irregular = 0;     // rows that are not Open
  std::set<NodeIndex> out;  // nodes that are cordoned or have a device that is, or a faulty one

  // A row without contents, and away with one; the last one takes its place.
  void add_row(NodeIndex node);
  void remove_row(size_t row);
  void write_row(size_t row, const Cluster& cluster, NodeIndex node);
};

// Columns for the devices of a type.
Segment segment_of(const NodeType& type);

}  // namespace tweendeck::placement

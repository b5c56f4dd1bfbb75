// How many nodes refuse a claim for which reason, and which node comes nearest: what `judge` says of every node, in
// one pass over dense arrays.
//
// Nodes of a type lie side by side and their devices in columns, so that selectors are looked at once per type and sizes
// are compared for eight nodes per instruction. Nodes that need more than sizes (a device is faulty, cut into partitions, held
// in part; the claim names devices or wants them near each other or to itself) are judged one by one.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "placement/why/judge.h"

namespace tweendeck::placement {

struct Tally {
  std::array<uint32_t, kReasonCount> nodes{};    // by reason; Reason::None = nodes on which the claim fits
  std::array<uint32_t, kReasonCount> devices{};  // of those nodes
  Nearness nearest;                              // of the nodes that refuse; kNoNode when there is none
  uint32_t total() const;
};

inline constexpr uint32_t kMaxReopen = 256;

class Board {
 public:
  // The same cluster in every call: what changed since the last one is caught up with first.
  Tally tally(const Cluster& cluster, ShapeId shape);
  // The first node that is closed or faulty and would take the claim if it were not; of at most kMaxReopen such nodes.
  NodeIndex closed_with_room(const Cluster& cluster, ShapeId shape);

 private:
  enum class Kind : uint8_t { Plain, Cordoned, Held, Odd };  // Held: every device is; Odd: judged one by one
  struct Column {                                            // of one device
    MemoryUnit unit;
    std::vector<int16_t> compute;  // free, permille
    std::vector<int16_t> memory;   // free, units
  };
  struct Segment {  // the nodes of one type
    std::vector<NodeIndex> nodes;
    std::vector<Kind> kinds;
    std::vector<int16_t> plain;  // 1 where the kind is Plain
    int32_t others = 0;          // rows of other kinds
    std::vector<int32_t> cpu;
    std::vector<int64_t> host_memory;
    std::vector<Column> columns;
  };
  struct Place {
    uint32_t segment = UINT32_MAX;
    uint32_t row = 0;
    uint32_t version = 0;
  };
  struct Pass;

  void catch_up(const Cluster& cluster);
  void refresh(const Cluster& cluster, NodeIndex node);
  void drop(NodeIndex node);
  static Kind kind_of(const Cluster& cluster, NodeIndex node);

  void count_named(Pass& pass) const;
  void count_alike(Pass& pass, const Segment& segment) const;
  void count_one_by_one(Pass& pass, const Segment& segment) const;
  void count_by_size(Pass& pass, const Segment& segment, uint16_t type) const;
  void count_row(Pass& pass, const Segment& segment, uint16_t type, size_t row, bool sure) const;

  std::vector<Segment> segments_;  // by type
  std::vector<Place> places_;      // by node
  uint64_t cursor_ = 0;
  bool built_ = false;
};

}  // namespace tweendeck::placement

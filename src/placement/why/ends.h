// The fewest holders whose end makes room for claims of a shape.
//
// Exact by iterative deepening: all sets of one holder, then of two, and so on, in a fixed order (lower priority first,
// then smaller share, then name), cut off where even the largest remaining shares would not do. The work is bounded by
// kMaxHolders and `max_steps`; past that a set is still one that works and from which nobody can be left out, but perhaps
// not the smallest.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "placement/cluster/cluster.h"

namespace tweendeck::placement {

inline constexpr size_t kMaxHolders = 64;
inline constexpr uint32_t kMaxSteps = 100'000;

// Who would end as one: a claim, a gang, a replica.
struct Holder {
  struct Held {
    Spot spot;
    ShapeId shape = 0;
    bool operator==(const Held&) const = default;
  };
  std::string name;
  int32_t priority = 0;
  std::vector<Held> held;
  int64_t ends_ms = -1;  // when it ends by itself; -1 = not known
};

// Where the claims may go, and how many at most on each node.
struct Range {
  NodeIndex node = kNoNode;
  uint32_t limit = UINT32_MAX;
};

struct EndSet {
  std::vector<std::string> names;  // sorted; empty = the end of everybody would not do
  bool fewest = true;
  std::vector<uint32_t> slots;  // of each range, were they gone
};

// Claims of the shape that fit within the ranges, at most `limit`.
uint32_t total_slots(const Cluster& cluster, ShapeId shape, std::span<const Range> ranges, uint32_t limit);

// For `count` claims that do not fit now. The book is as it was on return.
EndSet fewest_ends(Cluster& cluster, ShapeId shape, uint32_t count, std::span<const Range> ranges,
                   std::span<const Holder> holders, uint32_t max_steps = kMaxSteps);

}  // namespace tweendeck::placement

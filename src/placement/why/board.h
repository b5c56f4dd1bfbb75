// How many nodes refuse a claim for which reason, and which node comes nearest: what `judge` says of every node, in
// one pass over dense arrays.
//
// Nodes of a type lie side by side and their devices in columns (columns.h), so that selectors are looked at once per
// type and sizes are compared for eight devices per instruction (sizes.h). Nodes that lack sizes, whole devices, near
// ones, partitions, CPU or memory are counted that way (count.h); judged one by one are only those with a device that is
// cordoned by itself or shrank, and types of which a claim may use some devices, but too few.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "placement/why/columns.h"
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
  // A node that is closed or faulty and would take the claim if it were not: the lowest of the first type that has one;
  // of at most kMaxReopen nodes that are looked at.
  NodeIndex closed_with_room(const Cluster& cluster, ShapeId shape);

 private:
  struct Place {
    uint32_t segment = UINT32_MAX;
    uint32_t row = 0;
    uint32_t version = 0;
  };

  void catch_up(const Cluster& cluster);
  void refresh(const Cluster& cluster, NodeIndex node);
  void drop(NodeIndex node);
  Tally tally_named(const Cluster& cluster, ShapeId shape) const;

  std::vector<Segment> segments_;  // by type
  std::vector<Place> places_;      // by node
  uint64_t cursor_ = 0;
  bool built_ = false;
};

}  // namespace tweendeck::placement

// Nodes counted under the reason for which they refuse a claim, and the nearest of them. Private to placement/why.
#pragma once

#include "placement/why/board.h"
#include "placement/why/sizes.h"

namespace tweendeck::placement {

class Counter {
 public:
  Counter(const Cluster& cluster, ShapeId shape);

  // All nodes of a type. For claims that name no devices.
  void add(const Segment& segment, uint16_t type);
  void add_judged(NodeIndex node);
  // Nodes that have the same judgement as `first`, the lowest of them.
  void add_alike(NodeIndex first, uint32_t nodes, size_t devices_of_each);

  const Tally& tally() const { return tally_; }

 private:
  struct Host;
  struct Chunk;
  void count(Reason reason, uint32_t nodes, size_t devices);
  void nearer(const Nearness& candidate);
  void add_rows(const Segment& segment, uint16_t type, uint16_t allowed);
  bool may_be_nearer(Reason reason, int16_t missing) const;
  void add_nearest(Chunk& chunk, const Lacking& lacking, Reason reason, int16_t shortfall);
  size_t add_lacking_sizes(Chunk& chunk);
  size_t add_held(Chunk& chunk);
  void add_up(Chunk& chunk);
  void add_rest(Chunk& chunk, uint16_t type, Host& host);
  void add_row(Chunk& chunk, size_t i);
  void add_without_host(const Segment& segment, size_t row, Host& host);

  const Cluster& cluster_;
  ShapeId shape_;
  const Request& request_;
  bool alone_;   // wants devices that nobody is on
  bool nearby_;  // and near each other
  Tally tally_;
};

}  // namespace tweendeck::placement

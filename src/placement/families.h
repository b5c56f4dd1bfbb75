// Claims that keep apart from each other: how many of a family each node holds.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "placement/cluster/cluster.h"
#include "placement/events.h"

namespace tweendeck::placement {

class Families {
 public:
  // Family 0 is none.
  void took(FamilyId family, NodeIndex node);
  void gave(FamilyId family, NodeIndex node);

  // Where the next of the family may go, if it fits there. Required: nodes without any of it. Preferred: of the nodes
  // where the shape fits those with the fewest.
  std::vector<bool> open(const Cluster& cluster, ShapeId shape, FamilyId family, Apart apart) const;

 private:
  using Counts = std::unordered_map<NodeIndex, uint32_t>;  // looked up only, so its order means nothing
  std::unordered_map<FamilyId, Counts> families_;
};

}  // namespace tweendeck::placement

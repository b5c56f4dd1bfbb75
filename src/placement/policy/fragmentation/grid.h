// From what is free on a node to its state: rests that differ in nothing a learned slice could use are one.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "placement/cluster/cluster.h"
#include "placement/policy/fragmentation/catalog.h"
#include "placement/policy/fragmentation/demand.h"
#include "placement/policy/fragmentation/state.h"

namespace tweendeck::placement::fragmentation {

class Grid {
 public:
  Grid();  // nothing learned: a rest stands for itself

  // A rest becomes the largest sum of common slice sizes within it. Memory of devices counts once a request asked
  // for it.
  static Grid learn(const Demand& demand, std::span<const Kind> kinds);

  State state_of(const Catalog& catalog, const Cluster& cluster, const NodeState& node) const;
  // One device, as `state_of` sees it.
  Rest rest_of(const DeviceFacts& device, const NodeState& node, uint32_t bit) const;
  uint32_t rounded(uint32_t rest) const { return rounded_[rest]; }
  bool memory_counts() const { return memory_counts_; }
  // A slice of this need fits wherever its state says so and nowhere else, but for memory and CPU, which states round.
  bool shows(uint32_t need) const { return rounded_[need] == need; }
  bool operator==(const Grid&) const = default;

 private:
  std::array<uint16_t, kWholeRest + 1> rounded_{};
  bool memory_counts_ = false;
};

}  // namespace tweendeck::placement::fragmentation

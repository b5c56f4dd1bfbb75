#include "placement/families.h"

#include <algorithm>

namespace tweendeck::placement {

void Families::took(FamilyId family, NodeIndex node) {
  if (family != 0) ++families_[family][node];
}

void Families::gave(FamilyId family, NodeIndex node) {
  if (family == 0) return;
  const auto known = families_.find(family);
  const auto count = known->second.find(node);
  if (--count->second == 0) known->second.erase(count);
  if (known->second.empty()) families_.erase(known);
}

std::vector<bool> Families::open(const Cluster& cluster, ShapeId shape, FamilyId family, Apart apart) const {
  const auto known = families_.find(family);
  std::vector<bool> open(cluster.nodes().size(), true);
  if (known == families_.end()) return open;
  const Counts& counts = known->second;
  const auto held = [&](NodeIndex node) {
    const auto count = counts.find(node);
    return count == counts.end() ? 0 : count->second;
  };
  uint32_t fewest = UINT32_MAX;
  if (apart == Apart::Required) {
    fewest = 0;
  } else {
    for (NodeIndex node = 0; node < open.size() && fewest > 0; ++node) {
      if (const uint32_t here = held(node); here < fewest && cluster.fits(node, shape)) fewest = here;
    }
  }
  for (NodeIndex node = 0; node < open.size(); ++node) open[node] = held(node) <= fewest;
  return open;
}

}  // namespace tweendeck::placement

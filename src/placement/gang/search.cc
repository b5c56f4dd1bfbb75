#include "placement/gang/search.h"

#include <algorithm>
#include <set>
#include <tuple>

#include "placement/gang/devices.h"

namespace tweendeck::placement {
namespace {

bool same_state(const NodeState& a, const NodeState& b) {
  return a.type == b.type && a.cpu_free_milli == b.cpu_free_milli &&
         a.memory_free_bytes == b.memory_free_bytes && a.open == b.open && a.whole == b.whole &&
         a.rack == b.rack && a.block == b.block && a.compute_free == b.compute_free && a.claims == b.claims &&
         a.partition_slots == b.partition_slots && a.memory_free == b.memory_free;
}

bool not_before(const Spot& spot, const Spot& other) {
  return std::tie(spot.node, spot.devices, spot.partition_starts) >=
         std::tie(other.node, other.devices, other.partition_starts);
}

class Search {
 public:
  Search(Cluster& cluster, const Gang& gang, uint64_t budget, uint64_t& steps,
         std::vector<GangMember>& members)
      : cluster_(cluster), gang_(gang), budget_(budget), steps_(steps), members_(members) {
    exchange_ = std::ranges::none_of(gang.roles, [&](const GangRole& role) {
      return !cluster.shape(role.shape).request.device_ids.empty();
    });
  }

  Found run(const std::vector<Area>& areas) {
    for (NodeIndex n = 0; n < cluster_.nodes().size(); ++n) {
      const NodeState& node = cluster_.nodes()[n];
      if (std::ranges::all_of(areas, [&](Area area) { return contains(area, node, n); })) nodes_.push_back(n);
    }
    for (const Area area : areas) mask_ &= devices_of(cluster_, area);
    std::vector<RoleRank> ranks;
    for (uint32_t r = 0; r < gang_.roles.size(); ++r) {
      ranks.push_back(rank(cluster_, gang_, r, room(gang_.roles[r], Area{})));
    }
    std::ranges::sort(ranks);
    for (const RoleRank& entry : ranks) order_.push_back(entry.role);
    return next_role(0);
  }

 private:
  uint16_t mask(Area area) const { return mask_ & devices_of(cluster_, area); }

  // How many members fit by themselves.
  uint64_t room(const GangRole& role, Area area) {
    uint64_t slots = 0;
    for (const NodeIndex n : nodes_) {
      if (contains(area, cluster_.nodes()[n], n))
        slots += cluster_.slots(n, role.shape, kMaxNodeSlots, mask(area));
    }
    return slots;
  }

  Found next_role(size_t position) {
    if (position == order_.size()) return Found::Yes;
    for (size_t later = position; later < order_.size(); ++later) {
      const GangRole& role = gang_.roles[order_[later]];
      if (room(role, Area{}) < role.min) return Found::None;
    }
    const GangRole& role = gang_.roles[order_[position]];
    if (role.min == 0) return next_role(position + 1);
    if (role.within == Level::Cluster) return next_member(position, Area{}, 0, nullptr);
    // One domain after the other.
    std::set<uint32_t> ids;
    for (const NodeIndex n : nodes_) {
      const NodeState& node = cluster_.nodes()[n];
      const uint32_t domain = domain_of(node, n, role.within);
      if (role.within == Level::Island) {
        const size_t groups = cluster_.near_groups(node.type, Near::SameIsland).size();
        for (uint32_t g = 0; g < groups; ++g) ids.insert(domain + g);
      } else if (domain != 0 || role.within == Level::Node) {
        ids.insert(domain);
      }
    }
    bool exhausted = false;
    for (const uint32_t id : ids) {
      const Area area{role.within, id};
      if (room(role, area) < role.min) continue;
      const Found found = next_member(position, area, 0, nullptr);
      if (found == Found::Yes) return found;
      exhausted |= found == Found::BudgetExhausted;
    }
    return exhausted ? Found::BudgetExhausted : Found::None;
  }

  Found next_member(size_t position, Area area, uint32_t placed, const Spot* last) {
    const GangRole& role = gang_.roles[order_[position]];
    if (placed == role.min) return next_role(position + 1);
    bool exhausted = false;
    std::vector<NodeIndex> seen;
    for (const NodeIndex n : nodes_) {
      const NodeState& node = cluster_.nodes()[n];
      if (!contains(area, node, n)) continue;
      const bool repeats = exchange_ && std::ranges::any_of(seen, [&](NodeIndex other) {
                             return same_state(cluster_.nodes()[other], node);
                           });
      if (repeats) continue;
      if (exchange_) seen.push_back(n);
      if (last != nullptr && n < last->node) continue;
      const uint64_t left = budget_ - std::min(budget_, steps_);
      if (left == 0) return Found::BudgetExhausted;
      const std::vector<Spot> spots = every_spot(cluster_, n, role.shape, mask(area), exchange_, left);
      exhausted |= spots.size() == left;
      for (const Spot& spot : spots) {
        if (last != nullptr && !not_before(spot, *last)) continue;
        if (++steps_ > budget_) return Found::BudgetExhausted;
        cluster_.take(spot, role.shape);
        members_.push_back({order_[position], spot});
        const Found found = next_member(position, area, placed + 1, &spot);
        if (found == Found::Yes) return found;
        exhausted |= found == Found::BudgetExhausted;
        members_.pop_back();
        cluster_.give(spot, role.shape);
      }
    }
    return exhausted ? Found::BudgetExhausted : Found::None;
  }

  Cluster& cluster_;
  const Gang& gang_;
  uint64_t budget_;
  uint64_t& steps_;
  std::vector<GangMember>& members_;
  std::vector<NodeIndex> nodes_;
  std::vector<uint32_t> order_;  // of roles
  uint16_t mask_ = kAllDevices;
  bool exchange_ = true;
};

}  // namespace

RoleRank rank(const Cluster& cluster, const Gang& gang, uint32_t role, uint64_t room) {
  const bool joins = cluster.shape(gang.roles[role].shape).request.prefer != Prefer::Mutex;
  return {joins, room - std::min<uint64_t>(room, gang.roles[role].min), role};
}

Found search(Cluster& cluster, const Gang& gang, const std::vector<Area>& areas, uint64_t budget,
             uint64_t& steps, std::vector<GangMember>& members) {
  return Search(cluster, gang, budget, steps, members).run(areas);
}

}  // namespace tweendeck::placement

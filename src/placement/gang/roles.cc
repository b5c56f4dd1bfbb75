// Gangs of several roles: necessary conditions, a greedy fill, then search.
#include <algorithm>
#include <bit>

#include "placement/gang/domains.h"
#include "placement/gang/gang.h"
#include "placement/gang/search.h"

namespace tweendeck::placement {
namespace {

// What is free in an area of what every claim needs some of, and what the minimum of all roles needs.
struct Totals {
  __int128_t cpu = 0, node_memory = 0, memory = 0, compute = 0, whole = 0;
  bool within(const Totals& free) const {
    return cpu <= free.cpu && node_memory <= free.node_memory && memory <= free.memory &&
           compute <= free.compute && whole <= free.whole;
  }
};

Totals needs(const Cluster& cluster, const Gang& gang) {
  Totals totals;
  for (const GangRole& role : gang.roles) {
    const Request& request = cluster.shape(role.shape).request;
    const uint64_t slices = static_cast<uint64_t>(role.min) * request.devices;
    totals.cpu += static_cast<__int128_t>(role.min) * request.cpu_milli;
    totals.node_memory += static_cast<__int128_t>(role.min) * request.node_memory_bytes;
    totals.memory += static_cast<__int128_t>(slices) * request.memory_bytes;
    totals.compute += static_cast<__int128_t>(slices) * request.compute_permille;
    const bool alone = request.exclusive || request.compute_permille == kWholeCompute;
    totals.whole += alone ? static_cast<__int128_t>(slices) : 0;
  }
  return totals;
}

Totals free_in(const Cluster& cluster, std::span<const Area> areas) {
  Totals totals;
  uint16_t mask = 0xFFFF;
  for (const Area area : areas) mask &= devices_of(cluster, area);
  for (NodeIndex n = 0; n < cluster.nodes().size(); ++n) {
    const NodeState& node = cluster.nodes()[n];
    if (!node.present || node.cordoned) continue;
    if (!std::ranges::all_of(areas, [&](Area area) { return contains(area, node, n); })) continue;
    totals.cpu += std::max(node.cpu_free_milli, 0);
    totals.node_memory += std::max<int64_t>(node.memory_free_bytes, 0);
    for (uint32_t rest = node.open & mask; rest != 0; rest &= rest - 1) {
      const auto device = static_cast<size_t>(std::countr_zero(rest));
      totals.memory += std::max<int64_t>(node.memory_free[device], 0);
      totals.compute += node.compute_free[device];
      // A device with all its compute free can still have claims that ask for none.
      totals.whole += node.compute_free[device] == kWholeCompute ? 1 : 0;
    }
  }
  return totals;
}

}  // namespace

// Greedy: the roles with least room first, each where it fits tightest. Placed and taken, or the book is as before.
bool GangPlacer::try_domain(Cluster& cluster, const Gang& gang, Area area, GangVerdict& verdict) {
  const std::vector<Area> areas = {{gang.required, gang.domain}, area};
  const auto total = [&](const GangRole& role) {
    uint64_t slots = 0;
    for (const Domain& d : domains(cluster, indices_.of(cluster, role.shape), Level::Cluster, areas))
      slots += d.slots;
    return slots;
  };
  std::vector<RoleRank> order;
  for (uint32_t r = 0; r < gang.roles.size(); ++r)
    order.push_back(rank(cluster, gang, r, total(gang.roles[r])));
  std::ranges::sort(order);
  const Cluster::Mark mark = cluster.mark();
  std::vector<GangMember> members;
  for (const RoleRank& entry : order) {
    const GangRole& role = gang.roles[entry.role];
    const SlotIndex& index = indices_.of(cluster, role.shape);
    std::vector<Area> inner = areas;
    const std::vector<Domain> candidates = domains(cluster, index, role.within, areas);
    const Domain* chosen = tightest(candidates, role.max);
    if (chosen == nullptr) chosen = largest(candidates);
    std::vector<Spot> spots;
    if (chosen != nullptr) {
      inner.push_back({role.within, chosen->id});
      fill(cluster, index, inner, role.min, spots);
    }
    if (spots.size() < role.min) {
      cluster.undo_to(mark);
      return false;
    }
    for (const Spot& spot : spots) members.push_back({entry.role, spot});
  }
  cluster.commit(mark);
  verdict.members = std::move(members);
  return true;
}

GangVerdict GangPlacer::place_roles(Cluster& cluster, const Gang& gang) {
  GangVerdict verdict;
  const Totals needed = needs(cluster, gang);
  const std::vector<Area> outer = {{gang.required, gang.domain}};
  bool exhausted = false;
  int64_t best_slack = INT64_MIN;
  for (Level level = std::max(gang.required, gang.preferred);;
       level = static_cast<Level>(static_cast<uint8_t>(level) - 1)) {
    // Domains where every role fits by itself; tightest first.
    std::vector<std::vector<Domain>> by_role;
    std::vector<std::pair<int64_t, uint32_t>> candidates;
    for (const GangRole& role : gang.roles)
      by_role.push_back(domains(cluster, indices_.of(cluster, role.shape), level, outer));
    std::vector<uint32_t> ids;
    for (const auto& found : by_role) {
      for (const Domain& d : found) ids.push_back(d.id);
    }
    std::ranges::sort(ids);
    ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
    for (const uint32_t id : ids) {
      int64_t slack = INT64_MAX, sum = 0;
      for (uint32_t r = 0; r < gang.roles.size(); ++r) {
        const auto found = std::ranges::lower_bound(by_role[r], id, {}, &Domain::id);
        const uint32_t slots = found != by_role[r].end() && found->id == id ? found->slots : 0;
        const int64_t beyond = static_cast<int64_t>(slots) - gang.roles[r].min;
        sum += std::max<int64_t>(beyond, 0);
        if (beyond < slack) {
          slack = beyond;
          if (level == gang.required && beyond < 0 && beyond > best_slack) {
            best_slack = beyond;
            verdict.role = r;
            verdict.needed = gang.roles[r].min;
            verdict.best = slots;
            verdict.best_domain = id;
          }
        }
      }
      if (slack >= 0) candidates.emplace_back(sum, id);
    }
    std::ranges::sort(candidates);
    for (const auto& candidate : candidates) {
      const Area area{level, candidate.second};
      std::vector<Area> areas = outer;
      areas.push_back(area);
      if (level == gang.required) {
        verdict.role = 0;
        verdict.needed = verdict.best = gang.roles[0].min;
        verdict.best_domain = area.domain;
        best_slack = 0;
      }
      if (!needed.within(free_in(cluster, areas))) continue;
      bool placed = try_domain(cluster, gang, area, verdict);
      if (!placed) {
        const Found found = search(cluster, gang, areas, kMaxSearchSteps, verdict.steps, verdict.members);
        placed = found == Found::Yes;
        exhausted |= found == Found::BudgetExhausted;
      }
      if (!placed) continue;
      // Then as many more as fit, where the role's members are.
      for (uint32_t r = 0; r < gang.roles.size(); ++r) {
        const GangRole& role = gang.roles[r];
        if (role.max == role.min) continue;
        std::vector<Area> inner = areas;
        const auto first = std::ranges::find(verdict.members, r, &GangMember::role);
        if (first != verdict.members.end() && role.within != Level::Cluster) {
          const NodeIndex n = first->spot.node;
          Area own{role.within, domain_of(cluster.nodes()[n], n, role.within)};
          if (role.within == Level::Island) {
            const auto groups = cluster.near_groups(cluster.nodes()[n].type, Near::SameIsland);
            own.domain += static_cast<uint32_t>(
                std::ranges::find_if(groups, [&](uint16_t g) { return (g & first->spot.devices) != 0; }) -
                groups.begin());
          }
          inner.push_back(own);
        }
        std::vector<Spot> spots;
        fill(cluster, indices_.of(cluster, role.shape), inner, role.max - role.min, spots);
        for (const Spot& spot : spots) verdict.members.push_back({r, spot});
      }
      verdict.outcome = Outcome::Placed;
      verdict.reason = Reason::None;
      verdict.area = area;
      return verdict;
    }
    if (level == gang.required) break;
  }
  verdict.outcome = exhausted ? Outcome::BudgetExhausted : Outcome::Infeasible;
  verdict.reason = exhausted ? Reason::SearchBudgetExhausted : Reason::GangTooLarge;
  return verdict;
}

}  // namespace tweendeck::placement

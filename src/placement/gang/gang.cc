#include "placement/gang/gang.h"

#include <algorithm>

#include "placement/gang/search.h"

namespace tweendeck::placement {

GangVerdict GangPlacer::place(Cluster& cluster, Policy& policy, const Gang& gang) {
  const bool anywhere =
      gang.required == Level::Cluster && gang.preferred == Level::Cluster &&
      std::ranges::all_of(gang.roles, [](const GangRole& r) { return r.within == Level::Cluster; });
  GangVerdict verdict;
  // For equal members counting decides whether, so the policy is asked only where all will fit.
  const bool equal = gang.roles.size() == 1;
  if (equal && anywhere) {
    const GangRole& role = gang.roles[0];
    const uint32_t fit = indices_.of(cluster, role.shape).by(Level::Cluster)[0];
    if (fit >= role.min && place_by_policy(cluster, policy, gang, verdict)) return verdict;
  }
  if (equal) return place_equal(cluster, gang);
  if (anywhere && place_by_policy(cluster, policy, gang, verdict)) return verdict;
  return place_roles(cluster, gang);
}

// Roles with the least room first, so that others do not take what only they can use.
bool GangPlacer::place_by_policy(Cluster& cluster, Policy& policy, const Gang& gang, GangVerdict& verdict) {
  std::vector<RoleRank> order;
  for (uint32_t r = 0; r < gang.roles.size(); ++r) {
    const uint32_t fit = indices_.of(cluster, gang.roles[r].shape).by(Level::Cluster)[0];
    if (fit < gang.roles[r].min) return false;
    order.push_back(rank(cluster, gang, r, fit));
  }
  std::ranges::sort(order);
  const Cluster::Mark mark = cluster.mark();
  std::vector<GangMember> members;
  const auto place_up_to = [&](uint32_t r, uint32_t from, uint32_t to) {
    for (uint32_t k = from; k < to; ++k) {
      const std::optional<Choice> choice = policy.choose(cluster, gang.roles[r].shape, {});
      if (!choice) return k;
      cluster.take(choice->spot, gang.roles[r].shape);
      members.push_back({r, choice->spot});
    }
    return to;
  };
  for (const RoleRank& entry : order) {
    const GangRole& role = gang.roles[entry.role];
    if (place_up_to(entry.role, 0, role.min) == role.min) continue;
    cluster.undo_to(mark);
    return false;
  }
  for (const RoleRank& entry : order) {
    place_up_to(entry.role, gang.roles[entry.role].min, gang.roles[entry.role].max);
  }
  cluster.commit(mark);
  verdict.members = std::move(members);
  verdict.outcome = Outcome::Placed;
  verdict.area = {};
  return true;
}

}  // namespace tweendeck::placement

// Gangs of equal members: decided by counting alone.
#include <algorithm>

#include "placement/gang/domains.h"
#include "placement/gang/gang.h"

namespace tweendeck::placement {

GangVerdict GangPlacer::place_equal(Cluster& cluster, const Gang& gang) {
  const GangRole& role = gang.roles[0];
  const SlotIndex& index = indices_.of(cluster, role.shape);
  const Level required = std::max(gang.required, role.within);
  std::vector<Area> areas = {{gang.required, gang.domain}, {role.within, kAnyDomain}};
  GangVerdict verdict;
  verdict.needed = role.min;
  std::vector<Domain> candidates;
  const Domain* chosen = nullptr;
  Level level = std::max(required, gang.preferred);
  for (;; level = static_cast<Level>(static_cast<uint8_t>(level) - 1)) {
    candidates = domains(cluster, index, level, areas);
    chosen = tightest(candidates, role.max);
    if (chosen != nullptr || level == required) break;
  }
  // Not all of them fit anywhere: as many as possible.
  if (chosen == nullptr) chosen = largest(candidates);
  if (chosen == nullptr || chosen->slots < role.min) {
    verdict.reason = Reason::GangTooLarge;
    verdict.best = chosen == nullptr ? 0 : chosen->slots;
    verdict.best_domain = chosen == nullptr ? kAnyDomain : chosen->id;
    return verdict;
  }
  verdict.area = {level, chosen->id};
  areas.push_back(verdict.area);
  std::vector<Spot> spots;
  fill(cluster, index, areas, std::min(role.max, chosen->slots), spots);
  for (const Spot& spot : spots) verdict.members.push_back({0, spot});
  verdict.outcome = Outcome::Placed;
  return verdict;
}

}  // namespace tweendeck::placement

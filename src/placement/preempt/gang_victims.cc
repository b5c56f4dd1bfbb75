#include "placement/preempt/gang_victims.h"

#include <algorithm>
#include <numeric>

namespace tweendeck::placement {
namespace {

// Claims that are taken out of the book and of who runs, and put back at the end.
class Removed {
 public:
  Removed(Cluster& cluster, RunningClaims& running)
      : cluster_(cluster), running_(running), mark_(cluster.mark()) {}
  Removed(const Removed&) = delete;
  Removed& operator=(const Removed&) = delete;
  ~Removed() {
    cluster_.undo_to(mark_);
    for (const RunningClaim& claim : claims_) running_.add(claim);
  }
  void remove(const std::vector<ClaimId>& ids) {
    for (const ClaimId id : ids) {
      claims_.push_back(running_.at(running_.find(id)));
      running_.remove(id);
      cluster_.give(claims_.back().spot, claims_.back().shape);
    }
  }
  const std::vector<RunningClaim>& claims() const { return claims_; }

 private:
  Cluster& cluster_;
  RunningClaims& running_;
  std::vector<RunningClaim> claims_;
  Cluster::Mark mark_;
};

class Finder {
 public:
  Finder(Cluster& cluster, GangPlacer& placer, Policy& policy, RunningClaims& running, Queues* queues,
         const GangPreemptor& preemptor, int64_t now_ms)
      : cluster_(cluster),
        placer_(placer),
        policy_(policy),
        running_(running),
        queues_(queues),
        preemptor_(preemptor),
        now_ms_(now_ms) {
    for (size_t role = 0; role < preemptor.gang.roles.size(); ++role) {
      for (uint32_t i = 0; i < preemptor.gang.roles[role].min; ++i) add(ask_, preemptor.ask[role]);
    }
  }

  GangVictims run() {
    GangVictims best;
    if (preemptor_.gang.roles.size() == 1) {
      const GangRole& role = preemptor_.gang.roles.front();
      Preemptor one = of_role(0);
      one.required = std::max(preemptor_.gang.required, role.within);
      const Victims victims = find_victims(cluster_, placer_, running_, queues_, one, now_ms_);
      if (victims.outcome != Outcome::Placed) return {victims.outcome, victims.reason, {}, {}};
      best.claims = victims.claims;
      return placed_with(best) ? best : missed();
    }
    // What no role can have by itself all of them cannot.
    for (size_t role = 0; role < preemptor_.gang.roles.size(); ++role) {
      Preemptor one = of_role(role);
      one.required = std::max(preemptor_.gang.required, preemptor_.gang.roles[role].within);
      const Victims victims = find_victims(cluster_, placer_, running_, queues_, one, now_ms_);
      if (victims.outcome == Outcome::Infeasible) return {victims.outcome, victims.reason, {}, {}};
    }
    bool found = false;
    for (const Area area : areas()) {
      GangVictims next;
      if (!victims_in(area, next.claims) || !placed_with(next)) continue;
      let_off(next);
      if (!found || better(next, best)) best = std::move(next);
      found = true;
    }
    return found ? best : missed();
  }

 private:
  static GangVictims missed() { return {Outcome::BudgetExhausted, Reason::SearchBudgetExhausted, {}, {}}; }

  Preemptor of_role(size_t role) const {
    Preemptor one;
    one.shape = preemptor_.gang.roles[role].shape;
    one.members = preemptor_.gang.roles[role].min;
    one.queue = preemptor_.queue;
    one.priority = preemptor_.priority;
    one.ask = ask_;  // all of the gang stays within its share, or none
    return one;
  }

  // Domains of the gang's level; an island counts as its node here.
  std::vector<Area> areas() const {
    const Level level = std::min(preemptor_.gang.required, Level::Node);
    std::vector<uint32_t> ids;
    for (NodeIndex n = 0; n < cluster_.nodes().size(); ++n) {
      const NodeState& node = cluster_.nodes()[n];
      if (node.present && contains({level, kAnyDomain}, node, n)) ids.push_back(domain_of(node, n, level));
    }
    std::ranges::sort(ids);
    ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
    std::vector<Area> areas;
    for (const uint32_t id : ids) {
      if (areas.size() < kMaxVictimDomains) areas.push_back({level, id});
    }
    return areas;
  }

  bool victims_in(Area area, std::vector<ClaimId>& victims) {
    std::vector<size_t> order(preemptor_.gang.roles.size());
    std::iota(order.begin(), order.end(), 0);
    std::ranges::sort(order, [&](size_t a, size_t b) {
      const uint32_t of_a = preemptor_.gang.roles[a].min, of_b = preemptor_.gang.roles[b].min;
      return of_a != of_b ? of_a > of_b : a < b;
    });
    Removed removed(cluster_, running_);
    for (const size_t role : order) {
      Preemptor one = of_role(role);
      one.required = preemptor_.gang.roles[role].within;
      one.inside = area;
      one.gone = removed.claims();
      const Victims found = find_victims(cluster_, placer_, running_, queues_, one, now_ms_);
      if (found.outcome != Outcome::Placed) return false;
      removed.remove(found.claims);
      for (const Spot& spot : found.spots) cluster_.take(spot, one.shape);
    }
    for (const RunningClaim& claim : removed.claims()) victims.push_back(claim.id);
    std::ranges::sort(victims);
    return true;
  }

  // Whether the whole gang fits once they are gone, and where.
  bool placed_with(GangVictims& victims) {
    Gang gang = preemptor_.gang;
    for (GangRole& role : gang.roles) role.max = role.min;
    const Cluster::Mark mark = cluster_.mark();
    for (const ClaimId id : victims.claims) {
      const RunningClaim& claim = running_.at(running_.find(id));
      cluster_.give(claim.spot, claim.shape);
    }
    GangVerdict verdict = placer_.place(cluster_, policy_, gang);
    cluster_.undo_to(mark);
    if (verdict.outcome != Outcome::Placed) return false;
    victims.outcome = Outcome::Placed;
    victims.members = std::move(verdict.members);
    return true;
  }

  // Each by itself, or with the other victims of its gang where it cannot run without them.
  void let_off(GangVictims& victims) {
    std::vector<ClaimId> order = victims.claims;
    std::ranges::sort(order, [&](ClaimId a, ClaimId b) {
      return at(a).priority != at(b).priority ? at(a).priority > at(b).priority : a < b;
    });
    size_t tries = 0;
    for (const ClaimId id : order) {
      if (std::ranges::find(victims.claims, id) == victims.claims.end()) continue;
      if (++tries > kMaxLetOff) return;
      std::vector<ClaimId> fewer = victims.claims;
      std::erase(fewer, id);
      if (!legal(fewer, at(id).gang)) {
        std::erase_if(fewer, [&](ClaimId other) { return at(other).gang == at(id).gang; });
      }
      GangVictims without;
      without.claims = std::move(fewer);
      if (placed_with(without)) victims = std::move(without);
    }
  }

  // Whether the gang could run with these stopped: no role has too few, or nobody is left.
  bool legal(const std::vector<ClaimId>& victims, GangId gang) const {
    if (gang == kNoGang) return true;
    std::vector<uint32_t> left(running_.gang_minimum(gang).size());
    bool anybody = false;
    for (const RunningClaims::Index member : running_.of_gang(gang)) {
      const RunningClaim& claim = running_.at(member);
      if (std::ranges::binary_search(victims, claim.id)) continue;
      anybody = true;
      if (claim.role < left.size()) ++left[claim.role];
    }
    return !anybody || std::ranges::equal(left, running_.gang_minimum(gang), std::greater_equal<>());
  }

  const RunningClaim& at(ClaimId id) const { return running_.at(running_.find(id)); }

  bool better(const GangVictims& a, const GangVictims& b) const {
    const auto highest = [&](const GangVictims& victims) {
      int32_t priority = INT32_MIN;
      for (const ClaimId id : victims.claims) priority = std::max(priority, at(id).priority);
      return priority;
    };
    const int32_t of_a = highest(a), of_b = highest(b);
    return of_a != of_b ? of_a < of_b : a.claims.size() < b.claims.size();
  }

  Cluster& cluster_;
  GangPlacer& placer_;
  Policy& policy_;
  RunningClaims& running_;
  Queues* queues_;
  const GangPreemptor& preemptor_;
  int64_t now_ms_;
  Amounts ask_{};
};

}  // namespace

GangVictims find_gang_victims(Cluster& cluster, GangPlacer& placer, Policy& policy, RunningClaims& running,
                              Queues* queues, const GangPreemptor& preemptor, int64_t now_ms) {
  return Finder(cluster, placer, policy, running, queues, preemptor, now_ms).run();
}

}  // namespace tweendeck::placement

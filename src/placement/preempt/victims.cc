#include "placement/preempt/victims.h"

#include <algorithm>
#include <map>
#include <queue>

#include "placement/gang/domains.h"
#include "placement/preempt/eligible.h"

namespace tweendeck::placement {
namespace {

using Index = RunningClaims::Index;

constexpr size_t kEverySubset =
    10;  // members of a gang of which every part is tried when victims are let off

// Claims of one node (and what is left of their gangs) whose end gains slots there.
struct Step {
  NodeIndex node = kNoNode;
  std::vector<Index> claims;
  uint32_t gain = 0;
  int32_t priority = INT32_MIN;  // highest
  int64_t share = 0, lost_ms = 0;
};

bool better(const Step& a, const Step& b) {
  if (a.priority != b.priority) return a.priority < b.priority;
  const uint64_t per_a = a.claims.size() * uint64_t{b.gain}, per_b = b.claims.size() * uint64_t{a.gain};
  if (per_a != per_b) return per_a < per_b;
  if (a.share != b.share) return a.share < b.share;
  const __int128_t lost_a = static_cast<__int128_t>(a.lost_ms) * b.gain,
                   lost_b = static_cast<__int128_t>(b.lost_ms) * a.gain;
  return lost_a != lost_b ? lost_a < lost_b : a.node < b.node;
}

// One attempt within one area.
class Plan {
 public:
  Plan(Cluster& cluster, const SlotIndex& index, const RunningClaims& running, Eligible& eligible,
       const Preemptor& preemptor, Area area)
      : cluster_(cluster), running_(running), eligible_(eligible), preemptor_(preemptor), index_(index) {
    for (NodeIndex n = 0; n < cluster.nodes().size(); ++n) {
      if (!contains(area, cluster.nodes()[n], n) || !contains(preemptor.inside, cluster.nodes()[n], n))
        continue;
      nodes_.push_back(n);
      total_ += index.nodes()[n];
    }
  }

  // Whether enough fits then; `victims` are stopped in `eligible`, the book is as before.
  bool run() {
    if (total_ >= preemptor_.members) return true;
    slots_ = index_.nodes();
    candidates_.resize(slots_.size());
    in_area_.resize(slots_.size());
    for (const NodeIndex n : nodes_) in_area_[n] = true;
    const Cluster::Mark mark = cluster_.mark();
    if (preemptor_.members - total_ == 1) {
      if (const Step step = best_step(); step.gain > 0) apply(step);
    } else {
      take_best_steps();
    }
    cluster_.undo_to(mark);
    if (total_ < preemptor_.members) return false;
    shrink();
    return true;
  }

  const std::vector<Index>& victims() const { return victims_; }
  uint64_t total() const { return total_; }
  void forget() {
    for (const Index v : victims_) eligible_.keep(v);
  }

 private:
  const std::vector<Index>& candidates(NodeIndex node) {
    std::optional<std::vector<Index>>& list = candidates_[node];
    if (list) return *list;
    std::vector<std::pair<VictimKey, Index>> keyed;
    for (const Index claim : running_.on_node(node)) {
      if (eligible_.may_stop(claim)) keyed.emplace_back(eligible_.key(claim), claim);
    }
    std::ranges::sort(keyed);
    list.emplace();
    for (const auto& entry : keyed) list->push_back(entry.second);
    return *list;
  }

  uint32_t slots(NodeIndex node) const { return cluster_.slots(node, preemptor_.shape, kMaxNodeSlots); }

  void weigh(Step& step) const {
    step.priority = INT32_MIN;
    step.share = step.lost_ms = 0;
    for (const Index claim : step.claims) {
      const VictimKey key = eligible_.key(claim);
      step.priority = std::max(step.priority, key.priority);
      step.share = std::min(step.share, key.queue_share);
      step.lost_ms += key.lost_ms;
    }
  }

  // Stops claims of the node in their order until a slot is gained; none gained = gain 0.
  Step step_on(NodeIndex node) {
    Step step;
    step.node = node;
    const Cluster::Mark mark = cluster_.mark();
    for (const Index claim : candidates(node)) {
      if (eligible_.stopped(claim)) continue;
      for (const Index member : eligible_.unit(claim)) {
        eligible_.stop(member);
        cluster_.give(running_.at(member).spot, running_.at(member).shape);
        step.claims.push_back(member);
      }
      const uint32_t now = slots(node);
      if (now <= slots_[node]) continue;
      step.gain = now - slots_[node];
      break;
    }
    cluster_.undo_to(mark);
    for (const Index claim : step.claims) eligible_.keep(claim);
    // More claims than devices: some were in the order but not in the way.
    if (step.gain > 0 &&
        step.claims.size() >
            step.gain * std::max<size_t>(cluster_.shape(preemptor_.shape).request.devices, 1)) {
      leave_out_bystanders(step);
    }
    weigh(step);
    return step;
  }

  void leave_out_bystanders(Step& step) {
    for (size_t k = step.claims.size(); k-- > 0;) {
      if (running_.at(step.claims[k]).gang != kNoGang) continue;  // left to `shrink`
      const Cluster::Mark mark = cluster_.mark();
      for (size_t other = 0; other < step.claims.size(); ++other) {
        if (other != k)
          cluster_.give(running_.at(step.claims[other]).spot, running_.at(step.claims[other]).shape);
      }
      const bool needless = slots(step.node) >= slots_[step.node] + step.gain;
      cluster_.undo_to(mark);
      if (needless) step.claims.erase(step.claims.begin() + static_cast<std::ptrdiff_t>(k));
    }
  }

  Step best_step() {
    Step best;
    for (const NodeIndex node : nodes_) {
      if (candidates(node).empty()) continue;
      // No step on this node can be better than its first claim alone.
      const VictimKey first = eligible_.key(candidates(node).front());
      Step bound{node, {candidates(node).front()}, kMaxNodeSlots, first.priority, first.queue_share, 0};
      if (best.gain > 0) {
        bound.gain = best.claims.size() == 1 ? 1 : kMaxNodeSlots;
        bound.lost_ms = best.claims.size() == 1 ? first.lost_ms : 0;
        if (!better(bound, best)) continue;
      }
      Step step = step_on(node);
      if (step.gain == 0) continue;
      step.gain = 1;  // one is wanted; more is no merit
      if (best.gain == 0 || better(step, best)) best = std::move(step);
    }
    return best;
  }

  bool still_possible(const Step& step) {
    std::vector<Index> undo;
    bool possible = true;
    for (const Index claim : step.claims) {
      if (std::ranges::find(undo, claim) != undo.end()) continue;  // with its gang
      possible = !eligible_.stopped(claim);
      if (!possible) break;
      const std::vector<Index> unit = eligible_.unit(claim);
      possible = !unit.empty() && std::ranges::all_of(unit, [&](Index m) {
        return std::ranges::find(step.claims, m) != step.claims.end();
      });
      if (!possible) break;
      for (const Index member : unit) {
        eligible_.stop(member);
        undo.push_back(member);
      }
    }
    for (const Index claim : undo) eligible_.keep(claim);
    return possible;
  }

  void take_best_steps() {
    const auto worse = [](const Step& a, const Step& b) { return better(b, a); };
    std::priority_queue<Step, std::vector<Step>, decltype(worse)> steps(worse);
    std::vector<uint32_t> slots_then(slots_.size());  // for which a node's queued step was made
    const auto look_at = [&](NodeIndex node) {
      Step step = candidates(node).empty() ? Step{} : step_on(node);
      slots_then[node] = slots_[node];
      if (step.gain > 0) steps.push(std::move(step));
    };
    for (const NodeIndex node : nodes_) look_at(node);
    while (total_ < preemptor_.members && !steps.empty()) {
      const Step step = steps.top();
      steps.pop();
      if (slots_then[step.node] != slots_[step.node] || !still_possible(step)) {
        look_at(step.node);
        continue;
      }
      apply(step);
      look_at(step.node);
    }
  }

  void apply(const Step& step) {
    for (const Index claim : step.claims) {
      eligible_.stop(claim);
      cluster_.give(running_.at(claim).spot, running_.at(claim).shape);
      victims_.push_back(claim);
    }
    for (const Index claim : step.claims) recount(running_.at(claim).spot.node);
  }

  void recount(NodeIndex node) {
    if (!in_area_[node]) return;
    const uint32_t now = slots(node);
    total_ += now;
    total_ -= slots_[node];
    slots_[node] = now;
  }

  uint32_t slots_without(NodeIndex node, const std::vector<Index>& kept) {
    const Cluster::Mark mark = cluster_.mark();
    for (const Index claim : running_.on_node(node)) {
      if (eligible_.stopped(claim) && std::ranges::find(kept, claim) == kept.end()) {
        cluster_.give(running_.at(claim).spot, running_.at(claim).shape);
      }
    }
    const uint32_t now = slots(node);
    cluster_.undo_to(mark);
    return now;
  }

  // Sets of victims that may be left running: the claim alone, or as many of its gang as make it live, most first.
  // Every such set of a small gang; of a large one all, and all but those on one node.
  std::vector<std::vector<Index>> rescues(Index claim) {
    const GangId gang = running_.at(claim).gang;
    if (gang == kNoGang || may_run(gang, {claim})) return {{claim}};
    std::vector<Index> all;
    for (const Index member : running_.of_gang(gang)) {
      if (eligible_.stopped(member)) all.push_back(member);
    }
    std::vector<std::vector<Index>> sets = {all};
    if (all.size() <= kEverySubset) {
      for (uint32_t chosen = 1; chosen + 1 < (1u << all.size()); ++chosen) {
        std::vector<Index> set;
        for (size_t m = 0; m < all.size(); ++m) {
          if ((chosen >> m & 1) != 0) set.push_back(all[m]);
        }
        sets.push_back(std::move(set));
      }
    } else {
      for (const Index left_out : all) {
        std::vector<Index> set;
        for (const Index member : all) {
          if (running_.at(member).spot.node != running_.at(left_out).spot.node) set.push_back(member);
        }
        sets.push_back(std::move(set));
      }
    }
    std::erase_if(sets, [&](const auto& set) { return set.empty() || !may_run(gang, set); });
    std::ranges::sort(sets, [](const auto& a, const auto& b) {
      return a.size() != b.size() ? a.size() > b.size() : a < b;
    });
    return sets;
  }

  // Whether the gang could run with these of its stopped members.
  bool may_run(GangId gang, const std::vector<Index>& set) {
    for (const Index member : set) eligible_.keep(member);
    const bool may = eligible_.gang_may_stay_so(gang);
    for (const Index member : set) eligible_.stop(member);
    return may;
  }

  // Lets the set run again if enough fits nevertheless.
  bool rescue(const std::vector<Index>& set) {
    std::map<NodeIndex, uint32_t> after;
    uint64_t total = total_;
    for (const Index claim : set) {
      const NodeIndex node = running_.at(claim).spot.node;
      if (!in_area_[node] || after.contains(node)) continue;
      after[node] = slots_without(node, set);
      total = total + after[node] - slots_[node];
    }
    if (total < preemptor_.members) return false;
    for (const Index claim : set) eligible_.keep(claim);
    for (const auto& entry : after) slots_[entry.first] = entry.second;
    total_ = total;
    return true;
  }

  // Lets run whoever is not needed, the ones that are the greatest loss first. Room only grows with victims, so what
  // is needed once stays needed; a gang that runs again can make its other members free to, so until nothing changes.
  void shrink() {
    std::ranges::sort(victims_, [&](Index a, Index b) { return eligible_.key(b) < eligible_.key(a); });
    for (bool again = true; again;) {
      again = false;
      for (const Index victim : std::vector<Index>(victims_)) {
        if (!eligible_.stopped(victim)) continue;
        const bool rescued =
            std::ranges::any_of(rescues(victim), [&](const auto& set) { return rescue(set); });
        again |= rescued && running_.at(victim).gang != kNoGang;
      }
      std::erase_if(victims_, [&](Index victim) { return !eligible_.stopped(victim); });
    }
  }

  Cluster& cluster_;
  const RunningClaims& running_;
  Eligible& eligible_;
  const Preemptor& preemptor_;
  const SlotIndex& index_;
  std::vector<NodeIndex> nodes_;
  std::vector<bool> in_area_;
  std::vector<uint32_t> slots_;
  std::vector<std::optional<std::vector<Index>>> candidates_;
  std::vector<Index> victims_;
  uint64_t total_ = 0;
};

// What would fit if everybody who may be stopped at all were: no set of victims gives more.
uint64_t upper_bound(Cluster& cluster, const RunningClaims& running, Eligible& eligible,
                     const Preemptor& preemptor, Area area) {
  const Cluster::Mark mark = cluster.mark();
  uint64_t total = 0;
  for (NodeIndex n = 0; n < cluster.nodes().size(); ++n) {
    if (!contains(area, cluster.nodes()[n], n) || !contains(preemptor.inside, cluster.nodes()[n], n))
      continue;
    for (const Index claim : running.on_node(n)) {
      if (eligible.may_stop(claim)) cluster.give(running.at(claim).spot, running.at(claim).shape);
    }
    total += cluster.slots(n, preemptor.shape, kMaxNodeSlots);
  }
  cluster.undo_to(mark);
  return total;
}

std::vector<Area> areas(const Cluster& cluster, const Preemptor& preemptor) {
  if (preemptor.domain != kAnyDomain) return {{preemptor.required, preemptor.domain}};
  std::vector<uint32_t> ids;
  for (NodeIndex n = 0; n < cluster.nodes().size(); ++n) {
    const NodeState& node = cluster.nodes()[n];
    if (contains({preemptor.required, kAnyDomain}, node, n) && contains(preemptor.inside, node, n))
      ids.push_back(domain_of(node, n, preemptor.required));
  }
  std::ranges::sort(ids);
  ids.erase(std::unique(ids.begin(), ids.end()), ids.end());
  std::vector<Area> areas;
  for (const uint32_t id : ids) areas.push_back({preemptor.required, id});
  return areas;
}

}  // namespace

Victims find_victims(Cluster& cluster, GangPlacer& placer, const RunningClaims& running, Queues* queues,
                     const Preemptor& asked, int64_t now_ms) {
  Preemptor preemptor = asked;
  preemptor.required = std::min(preemptor.required, Level::Node);
  Eligible eligible(running, queues, preemptor, now_ms);
  const SlotIndex& index = placer.slots(cluster, preemptor.shape);
  Victims verdict;
  Step best;  // all victims of an area as one step: areas compare as steps do
  std::optional<Area> chosen;
  bool unsure = false;
  for (const Area area : areas(cluster, preemptor)) {
    Plan plan(cluster, index, running, eligible, preemptor, area);
    if (plan.run()) {
      Step all{area.domain, plan.victims(), 1, INT32_MIN, 0, 0};
      for (const Index claim : all.claims) {
        const VictimKey key = eligible.key(claim);
        all.priority = std::max(all.priority, key.priority);
        all.share = std::min(all.share, key.queue_share);
        all.lost_ms += key.lost_ms;
      }
      if (!chosen || better(all, best)) {
        chosen = area;
        best = std::move(all);
      }
      plan.forget();
      if (best.claims.empty()) break;
      continue;
    }
    plan.forget();
    const uint64_t bound = chosen ? 0 : upper_bound(cluster, running, eligible, preemptor, area);
    // Budgets, gangs and shares kept the greedy choice from it: another choice might do.
    unsure |= bound >= preemptor.members;
    verdict.best = std::max(verdict.best, static_cast<uint32_t>(std::min<uint64_t>(bound, UINT32_MAX)));
  }
  if (!chosen) {
    verdict.outcome = unsure ? Outcome::BudgetExhausted : Outcome::Infeasible;
    verdict.reason = unsure ? Reason::SearchBudgetExhausted : Reason::NoVictims;
    return verdict;
  }
  const Cluster::Mark mark = cluster.mark();
  for (const Index claim : best.claims) {
    cluster.give(running.at(claim).spot, running.at(claim).shape);
    verdict.claims.push_back(running.at(claim).id);
  }
  const std::vector<Area> inside = {*chosen, preemptor.inside};
  fill(cluster, placer.slots(cluster, preemptor.shape), inside, preemptor.members, verdict.spots);
  cluster.undo_to(mark);
  std::ranges::sort(verdict.claims);
  verdict.outcome = Outcome::Placed;
  verdict.best = preemptor.members;
  return verdict;
}

}  // namespace tweendeck::placement

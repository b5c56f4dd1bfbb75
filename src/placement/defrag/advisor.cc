#include "placement/defrag/advisor.h"

#include <algorithm>
#include <map>
#include <queue>
#include <set>
#include <string>
#include <unordered_map>

#include "placement/defrag/candidates.h"
#include "placement/gang/devices.h"

namespace tweendeck::placement {
namespace {

using Index = RunningClaims::Index;

constexpr size_t kExchangedAtOnce = 3;  // of a set, how many may change places with others

class Advisor {
 public:
  Advisor(Cluster& cluster, Policy& policy, const RunningClaims& running, std::vector<Wanted> wanted,
          const AdviceLimits& limits)
      : cluster_(cluster), policy_(policy), running_(running), wanted_(std::move(wanted)), limits_(limits) {
    claims_.resize(cluster.nodes().size());
    spots_.resize(running.index_limit());
    moved_.resize(running.index_limit());
    for (NodeIndex n = 0; n < claims_.size(); ++n) {
      for (const Index claim : running.on_node(n)) {
        spots_[claim] = running.at(claim).spot;
        if (!movable(claim)) continue;
        claims_[n].push_back(claim);
        by_shape_[running.at(claim).shape].push_back(claim);
      }
      std::ranges::sort(claims_[n], {}, [&](Index claim) { return running.at(claim).id; });
    }
    // The largest first: among equals per move it is the rarest to fit.
    std::ranges::sort(wanted_, [&](const Wanted& a, const Wanted& b) {
      return weight(a.shape) != weight(b.shape) ? weight(a.shape) > weight(b.shape) : a.shape < b.shape;
    });
  }

  // First whatever one move after the other does, then what takes exchanges; again as long as that makes new room.
  Advice run() {
    const Cluster::Mark mark = cluster_.mark();
    candidates_.resize(claims_.size());
    versions_.resize(claims_.size());
    for (size_t before = SIZE_MAX; before != advice_.proposals.size();) {
      before = advice_.proposals.size();
      for (const bool exchanges : {false, true}) {
        exchanges_ = exchanges;
        for (NodeIndex n = 0; n < claims_.size(); ++n) look_at(n);
        work_off();
      }
    }
    cluster_.undo_to(mark);
    return std::move(advice_);
  }

 private:
  struct Entry {
    Candidate candidate;
    NodeIndex node;
    uint32_t version;
  };
  struct Worse {
    bool operator()(const Entry& a, const Entry& b) const {
      if (better(b.candidate, a.candidate)) return true;
      return !better(a.candidate, b.candidate) && a.node > b.node;
    }
  };

  void work_off() {
    while (!queue_.empty()) {
      const Entry entry = queue_.top();
      queue_.pop();
      if (entry.version != versions_[entry.node]) continue;
      const Candidate candidate = entry.candidate;
      queue_next(entry.node);
      if (wanted_[candidate.wanted].count == 0) continue;
      if (advice_.moves + candidate.claims.size() > limits_.max_moves) continue;
      try_move(entry.node, candidate);
    }
  }

  bool movable(Index index) const {
    const RunningClaim& claim = running_.at(index);
    return claim.preemptible && claim.gang == kNoGang &&
           limits_.now_ms - claim.started_ms >= claim.min_runtime_ms &&
           cluster_.shape(claim.shape).request.device_ids.empty();
  }

  int64_t weight(ShapeId shape) const { return placement::weight(cluster_, shape); }

  bool within_budgets(const std::vector<Index>& claims) const {
    std::unordered_map<BudgetId, uint32_t> used;
    for (const Index claim : claims) {
      const BudgetId budget = running_.at(claim).budget;
      if (budget != kNoBudget && ++used[budget] > running_.disruptions_allowed(budget)) return false;
    }
    return true;
  }

  void give(Index claim) { cluster_.give(spots_[claim], running_.at(claim).shape); }

  void look_at(NodeIndex node) {
    ++versions_[node];
    candidates_[node] = candidates_on(cluster_, node, claims_[node], {running_, spots_}, wanted_);
    queue_next(node);
  }

  void queue_next(NodeIndex node) {
    if (candidates_[node].empty()) return;
    queue_.push({std::move(candidates_[node].back()), node, versions_[node]});
    candidates_[node].pop_back();
  }

  void try_move(NodeIndex node, const Candidate& candidate) {
    const Cluster::Mark mark = cluster_.mark();
    Proposal proposal;
    proposal.wanted = wanted_[candidate.wanted].shape;
    proposal.gain = candidate.gain;
    for (const Index claim : candidate.claims) give(claim);
    proposal.spot = spot_on(node, proposal.wanted);
    cluster_.take(proposal.spot, proposal.wanted);
    // The largest of them first.
    std::vector<Index> order = candidate.claims;
    std::ranges::sort(order, [&](Index a, Index b) {
      const int64_t of_a = weight(running_.at(a).shape), of_b = weight(running_.at(b).shape);
      return of_a != of_b ? of_a > of_b : a < b;
    });
    std::vector<Index> moved;
    size_t exchanged = 0;
    const auto put = [&](Index claim, const Spot& spot) {
      cluster_.take(spot, running_.at(claim).shape);
      proposal.moves.push_back({running_.at(claim).id, running_.at(claim).shape, spots_[claim], spot});
      moved.push_back(claim);
    };
    bool possible = true;
    for (const Index claim : order) {
      const std::optional<Spot> spot = find_room(claim, node);
      if (spot) {
        put(claim, *spot);
        continue;
      }
      std::optional<Exchange> exchange;
      if (exchanges_ && ++exchanged <= kExchangedAtOnce)
        exchange = find_exchange(claim, node, candidate.claims, moved);
      possible = exchange.has_value();
      if (!possible) break;
      give(exchange->other);
      put(claim, exchange->there);
      put(exchange->other, exchange->back);
    }
    if (!possible || advice_.moves + moved.size() > limits_.max_moves || !within_budgets(moved)) {
      cluster_.undo_to(mark);
      return;
    }
    cluster_.commit(mark);
    std::set<NodeIndex> changed = {node};
    for (size_t m = 0; m < moved.size(); ++m) {
      Spot& spot = spots_[moved[m]];
      std::erase(claims_[spot.node], moved[m]);  // once is enough: what moved stays
      moved_[moved[m]] = true;
      changed.insert(spot.node);
      spot = proposal.moves[m].to;
      changed.insert(spot.node);
    }
    --wanted_[candidate.wanted].count;
    advice_.moves += moved.size();
    advice_.gain += candidate.gain;
    advice_.proposals.push_back(std::move(proposal));
    stuck_.clear();
    no_exchange_.clear();
    for (const NodeIndex n : changed) look_at(n);
  }

  Spot spot_on(NodeIndex node, ShapeId shape) const {
    if (cluster_.shape(shape).request.devices == 0) return {node, 0, {}};
    return cluster_.spot(node, choose_devices(cluster_, node, shape), shape);
  }

  // Where the policy puts the claim. What had no room elsewhere has none until something moved; only `node` is new.
  std::optional<Spot> find_room(Index claim, NodeIndex node) {
    const ShapeId shape = running_.at(claim).shape;
    if (stuck_.contains(shape) && !cluster_.fits(node, shape)) return std::nullopt;
    const std::optional<Choice> choice = policy_.choose(cluster_, shape, {});
    if (choice) return choice->spot;
    stuck_.insert(shape);
    return std::nullopt;
  }

  struct Exchange {
    Index other = 0;
    Spot there;  // of the claim, on the other's node
    Spot back;   // of the other
  };

  // Another claim whose place the claim can take, while it finds one itself: a claim that needs much CPU changes
  // places with one that needs little, or 0.32 + 0.47 and 0.23 + 0.65 become 0.23 + 0.47 and 0.32 + 0.65.
  std::optional<Exchange> find_exchange(Index claim, NodeIndex node, const std::vector<Index>& leaving,
                                        const std::vector<Index>& moved) {
    const ShapeId shape = running_.at(claim).shape;
    const Request& asks = cluster_.shape(shape).request;
    std::vector<ShapeId> partners;
    std::string key = std::to_string(shape);
    for (const auto& [partner, claims] : by_shape_) {
      if (partner == shape || (stuck_.contains(partner) && !cluster_.fits(node, partner))) continue;
      partners.push_back(partner);
      key += ' ' + std::to_string(partner);
    }
    if (no_exchange_.contains(key)) return std::nullopt;
    std::ranges::sort(partners, [&](ShapeId a, ShapeId b) {
      return weight(a) != weight(b) ? weight(a) > weight(b) : a < b;
    });
    for (const ShapeId partner : partners) {
      const Request& frees = cluster_.shape(partner).request;
      for (const Index other : by_shape_[partner]) {
        const NodeIndex there = spots_[other].node;
        const NodeState& state = cluster_.nodes()[there];
        if (moved_[other] || there == node ||
            state.cpu_free_milli + static_cast<int64_t>(frees.cpu_milli) < asks.cpu_milli)
          continue;
        if (std::ranges::find(leaving, other) != leaving.end() ||
            std::ranges::find(moved, other) != moved.end())
          continue;
        const Cluster::Mark mark = cluster_.mark();
        give(other);
        std::optional<Exchange> exchange;
        if (cluster_.fits(there, shape)) {
          const Spot spot = spot_on(there, shape);
          cluster_.take(spot, shape);
          if (const std::optional<Spot> back = find_room(other, node))
            exchange = Exchange{other, spot, *back};
        }
        cluster_.undo_to(mark);
        if (exchange) return exchange;
      }
    }
    no_exchange_.insert(key);
    return std::nullopt;
  }

  Cluster& cluster_;
  Policy& policy_;
  const RunningClaims& running_;
  std::vector<Wanted> wanted_;
  AdviceLimits limits_;
  Advice advice_;
  std::vector<std::vector<Index>> claims_;          // by node: those that may still move
  std::vector<Spot> spots_;                         // by claim: where it is now
  std::vector<std::vector<Candidate>> candidates_;  // by node, best last
  std::vector<uint32_t> versions_;                  // by node: of its candidates
  std::priority_queue<Entry, std::vector<Entry>, Worse> queue_;
  std::set<ShapeId> stuck_;
  bool exchanges_ = false;
  std::map<ShapeId, std::vector<Index>> by_shape_;  // those that may move at all
  std::vector<bool> moved_;
  // Shapes with those they could change places with: tried in vain, until something moved.
  std::set<std::string> no_exchange_;
};

}  // namespace

Advice advise(Cluster& cluster, Policy& policy, const RunningClaims& running, std::vector<Wanted> wanted,
              const AdviceLimits& limits) {
  return Advisor(cluster, policy, running, std::move(wanted), limits).run();
}

}  // namespace tweendeck::placement

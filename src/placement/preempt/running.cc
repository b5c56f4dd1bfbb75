#include "placement/preempt/running.h"

#include <algorithm>

namespace tweendeck::placement {

void RunningClaims::add(const RunningClaim& claim) {
  remove(claim.id);
  Index index = static_cast<Index>(claims_.size());
  if (free_.empty()) {
    claims_.push_back(claim);
    used_.push_back(true);
  } else {
    index = free_.back();
    free_.pop_back();
    claims_[index] = claim;
    used_[index] = true;
  }
  indices_[claim.id] = index;
  if (by_node_.size() <= claim.spot.node) by_node_.resize(claim.spot.node + 1);
  by_node_[claim.spot.node].push_back(index);
  if (claim.gang != kNoGang) gangs_[claim.gang].members.push_back(index);
  if (claim.budget != kNoBudget) ++budgets_[claim.budget].running;
}

bool RunningClaims::remove(ClaimId id) {
  const auto found = indices_.find(id);
  if (found == indices_.end()) return false;
  const Index index = found->second;
  const RunningClaim& claim = claims_[index];
  std::erase(by_node_[claim.spot.node], index);
  if (claim.gang != kNoGang) {
    std::erase(gangs_.at(claim.gang).members, index);
    forget_if_empty_gang(claim.gang);
  }
  if (claim.budget != kNoBudget) {
    --budgets_.at(claim.budget).running;
    forget_if_empty(claim.budget);
  }
  indices_.erase(found);
  used_[index] = false;
  free_.push_back(index);
  return true;
}

RunningClaims::Index RunningClaims::find(ClaimId id) const {
  const auto found = indices_.find(id);
  return found == indices_.end() ? kNone : found->second;
}

std::span<const RunningClaims::Index> RunningClaims::on_node(NodeIndex node) const {
  if (node >= by_node_.size()) return {};
  return by_node_[node];
}

std::span<const RunningClaims::Index> RunningClaims::of_gang(GangId gang) const {
  const auto found = gangs_.find(gang);
  if (found == gangs_.end()) return {};
  return found->second.members;
}

void RunningClaims::set_gang_minimum(GangId gang, std::vector<uint32_t> by_role) {
  gangs_[gang].minimum = std::move(by_role);
  forget_if_empty_gang(gang);
}

std::span<const uint32_t> RunningClaims::gang_minimum(GangId gang) const {
  const auto found = gangs_.find(gang);
  if (found == gangs_.end()) return {};
  return found->second.minimum;
}

void RunningClaims::set_budget(BudgetId budget, uint32_t min_available, uint32_t max_unavailable) {
  budgets_[budget].min_available = min_available;
  budgets_[budget].max_unavailable = max_unavailable;
  forget_if_empty(budget);
}

void RunningClaims::expect(BudgetId budget) {
  if (budget != kNoBudget) ++budgets_[budget].expected;
}

void RunningClaims::expect_no_more(BudgetId budget) {
  if (budget == kNoBudget) return;
  --budgets_[budget].expected;
  forget_if_empty(budget);
}

uint32_t RunningClaims::disruptions_allowed(BudgetId budget) const {
  if (budget == kNoBudget) return UINT32_MAX;
  const auto found = budgets_.find(budget);
  if (found == budgets_.end()) return UINT32_MAX;
  const Budget& b = found->second;
  const uint32_t expected = std::max(b.expected, b.running);
  const uint32_t needed = std::max(b.min_available, expected - std::min(expected, b.max_unavailable));
  return b.running - std::min(b.running, needed);
}

void RunningClaims::forget_if_empty(BudgetId budget) {
  const Budget& b = budgets_.at(budget);
  const bool unbounded = b.min_available == 0 && b.max_unavailable == kAnyNumberUnavailable;
  if (unbounded && b.running == 0 && b.expected == 0) budgets_.erase(budget);
}

void RunningClaims::forget_if_empty_gang(GangId gang) {
  const Gang& g = gangs_.at(gang);
  if (g.minimum.empty() && g.members.empty()) gangs_.erase(gang);
}

}  // namespace tweendeck::placement

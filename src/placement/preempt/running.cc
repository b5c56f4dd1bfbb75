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
  if (claim.gang != kNoGang) std::erase(gangs_[claim.gang].members, index);
  if (claim.budget != kNoBudget) --budgets_[claim.budget].running;
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

void RunningClaims::set_gang_minimum(GangId gang, uint32_t members) {
  gangs_[gang].minimum = members;
}

uint32_t RunningClaims::gang_minimum(GangId gang) const {
  const auto found = gangs_.find(gang);
  return found == gangs_.end() ? 0 : found->second.minimum;
}

void RunningClaims::set_budget(BudgetId budget, uint32_t min_available) {
  budgets_[budget].min_available = min_available;
}

uint32_t RunningClaims::disruptions_allowed(BudgetId budget) const {
  if (budget == kNoBudget) return UINT32_MAX;
  const auto found = budgets_.find(budget);
  if (found == budgets_.end()) return UINT32_MAX;
  return found->second.running - std::min(found->second.running, found->second.min_available);
}

}  // namespace tweendeck::placement

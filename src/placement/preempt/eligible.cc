#include "placement/preempt/eligible.h"

#include <algorithm>

namespace tweendeck::placement {

Eligible::Eligible(const RunningClaims& running, Queues* queues, const Preemptor& preemptor, int64_t now_ms)
    : running_(running),
      queues_(queues),
      preemptor_(preemptor),
      now_ms_(now_ms),
      stopped_(running.index_limit()) {
  if (queues_ == nullptr) return;
  // Without a queue there is no fair share to claim.
  may_reclaim_ = preemptor.queue != kRootQueue && queues_->may_reclaim(preemptor.queue, preemptor.ask);
  queue_over_.assign(queues_->size(), -1);
  queue_share_.assign(queues_->size(), 0);
  lost_.assign(queues_->size(), Amounts{});
  for (QueueId q = 0; q < queues_->size(); ++q) {
    if (queues_->exists(q)) queue_share_[q] = queues_->dominant_share(q);
  }
  for (const RunningClaim& claim : preemptor.gone) count_loss(claim);
}

void Eligible::count_loss(const RunningClaim& claim) {
  if (queues_ == nullptr || claim.queue == preemptor_.queue) return;
  for (QueueId q = claim.queue; q != kRootQueue; q = queues_->parent(q)) add(lost_[q], claim.charged);
}

bool Eligible::may_stop(Index index) {
  const RunningClaim& claim = running_.at(index);
  if (!claim.preemptible || now_ms_ - claim.started_ms < claim.min_runtime_ms) return false;
  if (queues_ == nullptr || claim.queue == preemptor_.queue) return claim.priority < preemptor_.priority;
  if (!may_reclaim_) return false;
  int8_t& over = queue_over_[claim.queue];
  // Over its share by the least amounts already, before the claim's own are looked at.
  if (over < 0) {
    Amounts least{};
    for (size_t r = 0; r < kMaxResources; ++r) least[r] = preemptor_.ask[r] > 0 ? 1 : 0;
    over = queues_->may_lose(claim.queue, preemptor_.queue, preemptor_.ask, least, lost_) ? 1 : 0;
  }
  return over == 1;
}

VictimKey Eligible::key(Index index) const {
  const RunningClaim& claim = running_.at(index);
  const int64_t share = queues_ == nullptr ? 0 : -queue_share_[claim.queue];
  return {claim.priority, share, now_ms_ - claim.started_ms, claim.id};
}

bool Eligible::allowed_now(Index index) {
  if (!may_stop(index)) return false;
  const RunningClaim& claim = running_.at(index);
  if (claim.budget != kNoBudget) {
    const auto used = disrupted_.find(claim.budget);
    const uint32_t so_far = used == disrupted_.end() ? 0 : used->second;
    if (so_far >= running_.disruptions_allowed(claim.budget)) return false;
  }
  if (queues_ == nullptr || claim.queue == preemptor_.queue) return true;
  return queues_->may_lose(claim.queue, preemptor_.queue, preemptor_.ask, claim.charged, lost_);
}

std::vector<uint32_t>& Eligible::gang_now(GangId gang) {
  const auto [it, added] = gangs_.try_emplace(gang);
  if (!added) return it->second;
  std::vector<uint32_t>& running = it->second;
  running.resize(running_.gang_minimum(gang).size());
  for (const Index member : running_.of_gang(gang)) {
    const uint32_t role = running_.at(member).role;
    if (running.size() <= role) running.resize(role + 1);
    running[role] += stopped_[member] ? 0 : 1;
  }
  return running;
}

bool Eligible::gang_may_stay_so(GangId gang) {
  const std::vector<uint32_t>& running = gang_now(gang);
  const std::span<const uint32_t> minimum = running_.gang_minimum(gang);
  bool anybody = false;
  bool enough = true;
  for (size_t role = 0; role < running.size(); ++role) {
    anybody |= running[role] > 0;
    enough &= role >= minimum.size() || running[role] >= minimum[role];
  }
  return enough || !anybody;
}

std::vector<Eligible::Index> Eligible::unit(Index index) {
  const RunningClaim& claim = running_.at(index);
  if (!allowed_now(index)) return {};
  if (claim.gang == kNoGang) return {index};
  stop(index);
  const bool goes_alone = gang_may_stay_so(claim.gang);
  keep(index);
  if (goes_alone) return {index};
  std::vector<Index> all;
  for (const Index member : running_.of_gang(claim.gang)) {
    if (stopped_[member]) continue;
    if (!allowed_now(member)) {
      for (const Index undone : all) keep(undone);
      return {};
    }
    stop(member);  // so that budgets and shares count those before
    all.push_back(member);
  }
  for (const Index undone : all) keep(undone);
  return all;
}

void Eligible::stop(Index index) {
  const RunningClaim& claim = running_.at(index);
  if (claim.gang != kNoGang) --gang_now(claim.gang)[claim.role];
  stopped_[index] = true;
  if (claim.budget != kNoBudget) ++disrupted_[claim.budget];
  count_loss(claim);
}

void Eligible::keep(Index index) {
  const RunningClaim& claim = running_.at(index);
  if (claim.gang != kNoGang) ++gang_now(claim.gang)[claim.role];
  stopped_[index] = false;
  if (claim.budget != kNoBudget) --disrupted_[claim.budget];
  if (queues_ == nullptr || claim.queue == preemptor_.queue) return;
  for (QueueId q = claim.queue; q != kRootQueue; q = queues_->parent(q)) subtract(lost_[q], claim.charged);
}

}  // namespace tweendeck::placement

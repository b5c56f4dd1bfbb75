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
}

bool Eligible::may_stop(Index index) {
  const RunningClaim& claim = running_.at(index);
  if (!claim.preemptible || now_ms_ - claim.started_ms < claim.min_runtime_ms) return false;
  if (queues_ == nullptr || claim.queue == preemptor_.queue) return claim.priority < preemptor_.priority;
  if (!may_reclaim_) return false;
  int8_t& over = queue_over_[claim.queue];
  // Over its share by the least amounts already, before the claim's own are
  // looked at.
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

size_t Eligible::gang_running(GangId gang) const {
  const auto found = gang_stopped_.find(gang);
  return running_.of_gang(gang).size() - (found == gang_stopped_.end() ? 0 : found->second);
}

bool Eligible::gang_may_keep(GangId gang, size_t members) const {
  return members == 0 || members >= running_.gang_minimum(gang);
}

std::vector<Eligible::Index> Eligible::unit(Index index) {
  const RunningClaim& claim = running_.at(index);
  if (claim.gang == kNoGang || gang_may_keep(claim.gang, gang_running(claim.gang) - 1)) {
    if (!allowed_now(index)) return {};
    return {index};
  }
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
  stopped_[index] = true;
  if (claim.budget != kNoBudget) ++disrupted_[claim.budget];
  if (claim.gang != kNoGang) ++gang_stopped_[claim.gang];
  if (queues_ == nullptr || claim.queue == preemptor_.queue) return;
  for (QueueId q = claim.queue; q != kRootQueue; q = queues_->parent(q)) add(lost_[q], claim.charged);
}

void Eligible::keep(Index index) {
  const RunningClaim& claim = running_.at(index);
  stopped_[index] = false;
  if (claim.budget != kNoBudget) --disrupted_[claim.budget];
  if (claim.gang != kNoGang) --gang_stopped_[claim.gang];
  if (queues_ == nullptr || claim.queue == preemptor_.queue) return;
  for (QueueId q = claim.queue; q != kRootQueue; q = queues_->parent(q)) subtract(lost_[q], claim.charged);
}

}  // namespace tweendeck::placement

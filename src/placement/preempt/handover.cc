#include "placement/preempt/handover.h"

#include <algorithm>

namespace tweendeck::placement {

bool Handovers::start(Key key, std::vector<Promise> promises, const std::vector<RunningClaim>& victims,
                      int64_t now_ms) {
  const bool taken = std::ranges::any_of(victims, [&](const RunningClaim& v) { return is_victim(v.id); });
  if (taken || victims.empty() || handovers_.contains(key)) return false;
  Handover handover;
  handover.promises = std::move(promises);
  handover.since_ms = now_ms;
  for (const RunningClaim& victim : victims) {
    handover.victims.push_back({victim.id, victim.shape, victim.spot, false});
    victim_of_[victim.id] = key;
  }
  handovers_[key] = std::move(handover);
  return true;
}

Handovers::Result Handovers::victim_gone(Cluster& cluster, ClaimId victim) {
  Result result;
  const auto owner = victim_of_.find(victim);
  if (owner == victim_of_.end()) return result;
  result.key = owner->second;
  Handover& handover = handovers_[result.key];
  for (Held& held : handover.victims) {
    if (held.claim == victim) held.gone = true;
  }
  victim_of_.erase(owner);
  if (++handover.gone < handover.victims.size()) return result;
  for (const Held& held : handover.victims) {
    cluster.give(held.spot, held.shape);
    result.freed.push_back(held.spot.node);
  }
  result.promises = std::move(handover.promises);
  handovers_.erase(result.key);
  const Cluster::Mark mark = cluster.mark();
  for (const Promise& promise : result.promises) {
    if (!cluster.fits(promise.spot, promise.shape)) {
      cluster.undo_to(mark);
      result.step = Step::Broken;
      return result;
    }
    cluster.take(promise.spot, promise.shape);
  }
  cluster.commit(mark);
  result.step = Step::Taken;
  return result;
}

std::optional<Handovers::Cancelled> Handovers::cancel(Cluster& cluster, Key key) {
  const auto found = handovers_.find(key);
  if (found == handovers_.end()) return std::nullopt;
  Cancelled cancelled;
  for (const Held& held : found->second.victims) {
    if (held.gone) {
      cluster.give(held.spot, held.shape);
      cancelled.freed.push_back(held.spot.node);
    } else {
      victim_of_.erase(held.claim);
      cancelled.spared.push_back(held.claim);
    }
  }
  cancelled.promises = std::move(found->second.promises);
  handovers_.erase(found);
  return cancelled;
}

std::vector<Handovers::Key> Handovers::overdue(int64_t now_ms) const {
  std::vector<Key> keys;
  for (const auto& entry : handovers_) {
    if (now_ms - entry.second.since_ms >= kHandoverTimeoutMs) keys.push_back(entry.first);
  }
  std::ranges::sort(keys);
  return keys;
}

std::vector<Promise> Handovers::held() const {
  std::vector<Promise> all;
  for (const auto& entry : handovers_) {
    for (const Held& held : entry.second.victims) {
      if (held.gone) all.push_back({held.claim, held.shape, held.spot});
    }
  }
  return all;
}

}  // namespace tweendeck::placement

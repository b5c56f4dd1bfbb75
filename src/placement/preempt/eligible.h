// Who may be stopped for a preemptor, and what is left of budgets, gangs and fair shares while victims are chosen.
#pragma once

#include <compare>
#include <unordered_map>
#include <vector>

#include "placement/preempt/victims.h"

namespace tweendeck::placement {

// The order in which claims are given up.
struct VictimKey {
  int32_t priority = 0;
  int64_t queue_share = 0;  // negative: queues with more go first
  int64_t lost_ms = 0;
  ClaimId id = 0;
  auto operator<=>(const VictimKey&) const = default;
};

class Eligible {
 public:
  using Index = RunningClaims::Index;

  Eligible(const RunningClaims& running, Queues* queues, const Preemptor& preemptor, int64_t now_ms);

  // Whether any claim like this may be stopped, budgets and shares as they are before anybody was.
  bool may_stop(Index claim);
  VictimKey key(Index claim) const;

  // What has to stop with the claim now: itself, or with it what is left of its gang. Empty: it may not.
  std::vector<Index> unit(Index claim);
  // Both book; `keep` undoes a stop in any order.
  void stop(Index claim);
  void keep(Index claim);
  bool stopped(Index claim) const { return stopped_[claim]; }
  // Whether the claim's gang could be left as it is now: gone, or with all that it needs.
  bool gang_may_stay_so(GangId gang);

 private:
  bool allowed_now(Index claim);
  void count_loss(const RunningClaim& claim);
  std::vector<uint32_t>& gang_now(GangId gang);

  const RunningClaims& running_;
  Queues* queues_;
  Preemptor preemptor_;
  int64_t now_ms_;
  bool may_reclaim_ = false;
  std::vector<bool> stopped_;
  std::vector<int8_t> queue_over_;  // by queue: 1 = over its share, 0 = not, -1 = not looked at
  std::vector<int64_t> queue_share_;
  std::vector<Amounts> lost_;  // by queue
  std::unordered_map<BudgetId, uint32_t> disrupted_;
  std::unordered_map<GangId, std::vector<uint32_t>> gangs_;  // members running, by role
};

}  // namespace tweendeck::placement

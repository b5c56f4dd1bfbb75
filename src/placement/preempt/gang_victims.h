// Whom to stop so that a gang fits, its members all at once: victims.h for gangs of several roles and with wishes
// about where members lie to each other.
//
// Roles of one kind are searched for by find_victims alone. Several roles are searched for one after the other, those
// with the most members first, in each domain that the gang may lie in (at most kMaxVictimDomains); victims that turn
// out not to be needed together are let off. Whatever is found was tried: with the victims gone the members fit as
// the gang wants them. Infeasible is proved; what such a search may have missed is BudgetExhausted.
#pragma once

#include <vector>

#include "placement/preempt/victims.h"

namespace tweendeck::placement {

inline constexpr size_t kMaxVictimDomains = 32;
inline constexpr size_t kMaxLetOff = 256;  // of victims of several roles

struct GangPreemptor {
  Gang gang;  // `min` of each role is asked for
  QueueId queue = kRootQueue;
  int32_t priority = 0;
  std::vector<Amounts> ask;  // of one member of each role
};

struct GangVictims {
  Outcome outcome = Outcome::Infeasible;
  Reason reason = Reason::None;  // NoVictims, SearchBudgetExhausted
  std::vector<ClaimId> claims;
  std::vector<GangMember> members;  // where they will lie
};

// The book and `running` are as they were on return.
GangVictims find_gang_victims(Cluster& cluster, GangPlacer& placer, Policy& policy, RunningClaims& running,
                              Queues* queues, const GangPreemptor& preemptor, int64_t now_ms);

}  // namespace tweendeck::placement

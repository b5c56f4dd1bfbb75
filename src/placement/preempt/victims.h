// Whom to stop so that a claim, or a gang of equal claims, fits.
//
// May be stopped: claims of lower priority in the same queue (preemption), and claims of other queues as far as those
// keep their fair share while the claimer stays within its own (reclaim, queues.h): whoever is stopped so could not
// reclaim in turn, so nothing moves back and forth. Never: claims that are not preemptible or have not run for their
// minimum, more of a budget's claims than it allows, part of a gang that would fall below its minimum (its members
// above the minimum go one by one, the rest only together).
//
// The victims are inclusion-minimal: with any one of them left running (and with it its gang, where it cannot run
// alone) the claims would not fit. Which minimal set is found follows one order: lowest priority, fewest per claim
// gained, queues furthest above others, least time lost. The cost is O(claims of the nodes looked at); a single claim
// skips nodes that cannot be better than the best so far.
#pragma once

#include <cstdint>
#include <vector>

#include "placement/gang/gang.h"
#include "placement/preempt/running.h"

namespace tweendeck::placement {

struct Preemptor {
  ShapeId shape = 0;
  uint32_t members = 1;  // all at once
  QueueId queue = kRootQueue;
  int32_t priority = 0;
  Amounts ask{};                    // of all members, as they will be charged
  Level required = Level::Cluster;  // all in one such domain; an island counts
                                    // as its node here
  uint32_t domain = kAnyDomain;
  Area inside{};  // and all of them in here
  std::vector<RunningClaim>
      gone;  // stopped for the same purpose already: counted for fair shares, not running
};

struct Victims {
  Outcome outcome = Outcome::Infeasible;  // Placed: stopping `claims` makes room; Infeasible:
                                          // proved, nothing would
  Reason reason = Reason::None;           // NoVictims
  std::vector<ClaimId> claims;            // empty when it fits already
  std::vector<Spot> spots;                // of the members once the victims are gone
  uint32_t best = 0;                      // members that would fit with everything allowed stopped,
                                          // where most do
};

// The book is unchanged on return. `queues` may be nullptr: then everybody is in one queue.
Victims find_victims(Cluster& cluster, GangPlacer& placer, const RunningClaims& running, Queues* queues,
                     const Preemptor& preemptor, int64_t now_ms);

}  // namespace tweendeck::placement

// Which claims to move so that refused ones fit: a dry run that changes nothing.
//
// A proposal makes room for one wanted claim by moving few running ones to where they fit without being in the way,
// for example a share from half-used devices onto another one, CPU-only claims from a node whose devices are free but
// whose CPUs are not, or partitions that stand where a larger one could (re-slicing). Where a claim in the way fits
// nowhere, it may change places with another one: two moves. Proposals are made by gain per moved claim, best first,
// plain ones before those with exchanges, until the limits are reached; every proposal builds on the ones before it,
// so their order is the order in which to carry them out, and any prefix of them is sound.
//
// Claims that are not preemptible or within their minimum runtime stay, a budget is not exceeded by the claims of it
// that move, and members of gangs stay where their topology was granted.
#pragma once

#include <cstdint>
#include <vector>

#include "placement/policy/policy.h"
#include "placement/preempt/running.h"

namespace tweendeck::placement {

struct Wanted {
  ShapeId shape = 0;
  uint32_t count = 1;
};

struct Move {
  ClaimId claim = 0;
  ShapeId shape = 0;
  Spot from, to;
};

struct Proposal {
  std::vector<Move> moves;  // all are stopped before the first is started again
  ShapeId wanted = 0;
  Spot spot;
  int64_t gain = 0;  // permille of devices
};

struct AdviceLimits {
  uint64_t max_moves = UINT64_MAX;
  int64_t now_ms = 0;
};

struct Advice {
  std::vector<Proposal> proposals;
  uint64_t moves = 0;
  int64_t gain = 0;
};

// The book is unchanged on return. `policy` chooses where moved claims go.
Advice advise(Cluster& cluster, Policy& policy, const RunningClaims& running, std::vector<Wanted> wanted,
              const AdviceLimits& limits);

}  // namespace tweendeck::placement

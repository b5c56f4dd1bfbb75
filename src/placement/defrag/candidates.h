// Which claims of a node stand in the way of what is wanted: sets of up to three whose end makes room there.
#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "placement/defrag/advisor.h"

namespace tweendeck::placement {

inline constexpr size_t kCandidatesPerNode = 256;  // sets that are remembered, the best ones
inline constexpr size_t kTriplesUpTo = 24;         // claims on a node up to which sets of three are looked at

// Stopping these claims of a node makes room for one of a wanted shape there.
struct Candidate {
  size_t wanted = 0;  // place in the list
  int64_t gain = 0;
  int64_t burden = 0;  // what has to find another place, permille of devices
  std::vector<RunningClaims::Index> claims;
};

// More gain per moved claim first, then less to find a place for.
bool better(const Candidate& a, const Candidate& b);

// Permille of devices that a claim of the shape asks for, at least 1: one that asks for no compute still holds something.
int64_t weight(const Cluster& cluster, ShapeId shape);

// What is known of those that run: `spots` says where each is now.
struct Places {
  const RunningClaims& running;
  std::span<const Spot> spots;  // by index of the claim
};

// The sets among `claims`, which lie on the node; best last. No set of which a part would do. The book is as it was on return.
std::vector<Candidate> candidates_on(Cluster& cluster, NodeIndex node,
                                     std::span<const RunningClaims::Index> claims, const Places& places,
                                     std::span<const Wanted> wanted);

}  // namespace tweendeck::placement

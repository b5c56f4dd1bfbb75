// The fewest replicas whose end would let a claim fit.
//
// Exact by iterative deepening: all sets of one owner, then of two, and so on, in a fixed order (lower
// priority first, then smaller share, then name), cut off where even the largest remaining shares would not
// do. The work is bounded by kMaxOwners and kMaxSteps; past that a set is still one that works and from which
// nobody can be left out, but perhaps not the smallest.
#pragma once

#include <string>
#include <vector>

#include "placement/room.h"

namespace tweendeck::placement {

inline constexpr size_t kMaxOwners = 64;
inline constexpr uint32_t kMaxSteps = 100'000;

struct StopSet {
  std::vector<std::string> owners;  // sorted; empty = stopping everybody would not do
  bool fewest = true;
  std::vector<Room> rooms;  // as they would be then; empty like owners
};

StopSet find_stop_set(const Snapshot& snapshot, const Claim& claim, const std::vector<Room>& rooms);

}  // namespace tweendeck::placement

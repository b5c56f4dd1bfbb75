// The published experiment: pods arrive one by one in a given order, never leave, and are dropped when they fit
// nowhere (FGD, ATC'23, "Monte-Carlo inflation").
#pragma once

#include <array>
#include <vector>

#include "base/result.h"
#include "sim/curve.h"
#include "sim/replay/typical.h"
#include "sim/scheduler.h"
#include "sim/trace/orders.h"

namespace tweendeck::sim {

struct QueueCount {
  int64_t asked_milli = 0;  // GPU
  int64_t held_milli = 0;
  uint64_t arrived = 0;
  uint64_t refused = 0;
};

struct Inflation {
  Curve allocation;                              // GPU allocated, percent of the cluster's
  Curve fragmentation;                           // F of the idle GPU in percent; empty without typical pods
  std::array<uint64_t, kBars.size()> refused{};  // by Bar, in the order of kBars
  uint64_t refused_feasible = 0;                 // a node had room: the policy would not
  std::vector<QueueCount> queues;                // by PodList::queues
};

// With `typical` (FGD's F is measured with them) the fragmentation curve is filled. Errors: Internal when the
// scheduler over-commits.
Result<Inflation> inflate(Book& book, Scheduler& scheduler, const PodList& pods,
                          const std::vector<uint32_t>& arrivals, const std::vector<TypicalPod>& typical);

}  // namespace tweendeck::sim

// A cluster over time: pods arrive, wait, run for their lifetime and leave; nodes are lost and come back. Virtual time,
// milliseconds; the same events give the same result everywhere.
//
// The queue: a pod is tried when it arrives. One that fits nowhere waits. When room appears (a pod ends, a node
// comes back), those that wait are tried in the order of their arrival and everyone who fits starts: first come,
// first served, with skipping. Nobody is preempted. Pods on a lost node wait again, in the place of their arrival,
// and begin anew.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "base/result.h"
#include "sim/inflation.h"
#include "sim/scheduler.h"
#include "sim/trace/event_log.h"

namespace tweendeck::sim {

inline constexpr size_t kTimelineSamples = 240;  // of TimelineResult::allocation

struct Timeline {
  std::vector<TimelineEvent> events;  // by time
  // Pods that run at time 0 already, put there in this order; those that do not fit then wait. Never measured.
  std::vector<TimelineEvent> at_start;
  int64_t measured_from_ms = 0;  // what happens before is not counted
  int64_t end_ms = 0;
};

struct WaitCount {
  uint64_t arrived = 0;
  uint64_t waited = 0;         // did not start at once
  uint64_t still_waiting = 0;  // at the end; their wait so far is counted
  double wait_s = 0;           // of all
  double held_gpu_s = 0;       // GPU time given within the measured time
  double mean_wait_s() const { return arrived == 0 ? 0 : wait_s / static_cast<double>(arrived); }
};

struct TimelineResult {
  WaitCount all;
  std::vector<WaitCount> queues;                     // by PodList::queues
  std::array<double, kBars.size()> wait_s_by_bar{};  // by what barred the pod when it came to wait
  double allocation_percent = 0;                     // of the cluster's GPUs, mean over the measured time
  double wait_p99_s = 0;
  uint64_t longest_queue = 0;
  uint64_t waited_at_start = 0;  // of Timeline::at_start
  uint64_t lost = 0;             // pods that a lost node took with it
  uint64_t refused_feasible = 0;
  std::vector<double> samples;  // allocation in percent at kTimelineSamples moments from 0 to the end
};

// Errors: Internal when the scheduler over-commits.
Result<TimelineResult> run_timeline(Book& book, Scheduler& scheduler, const PodList& pods,
                                    const Timeline& timeline);

}  // namespace tweendeck::sim

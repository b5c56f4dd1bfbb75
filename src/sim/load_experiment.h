// Policies over time: at several offered loads, over seeds, on a few threads; or one event log.
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <vector>

#include "sim/dataset.h"
#include "sim/load.h"

namespace tweendeck::sim {

struct LoadRuns {
  std::string policy;
  double load_percent = 0;              // 0: an event log
  std::vector<TimelineResult> by_seed;  // in the order of the seeds
  // Means over the seeds.
  double mean_wait_s() const;
  double allocation_percent() const;
};

struct LoadExperiment {
  std::vector<std::string> policies;
  std::vector<double> loads;  // percent
  std::vector<uint32_t> seeds;
  uint64_t arrivals = 0;
  int64_t longest_s = 0;  // as LoadOptions
  uint32_t scale = 1;
  unsigned threads = 1;
  std::function<void(size_t done, size_t runs)> progress;  // from the working threads, one at a time
  const std::atomic<bool>* stop = nullptr;
};

// Policies of one load and seed see the same pods at the same times. Ordered by load, then policy.
// Errors: InvalidArgument (no lifetimes), NotFound (policy), Cancelled, Internal.
Result<std::vector<LoadRuns>> run_loads(const Workload& workload, const LoadExperiment& options);

// One event log under each policy; it ends with its last event, or when its last pod has ended.
Result<std::vector<LoadRuns>> run_events(const Workload& workload, const std::vector<TimelineEvent>& events,
                                         const LoadExperiment& options);

}  // namespace tweendeck::sim

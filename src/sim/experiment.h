// The published experiment over policies and seeds, on a few threads.
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "sim/dataset.h"
#include "sim/inflation.h"

namespace tweendeck::sim {

struct SeedRun {
  uint32_t seed = 0;
  Inflation result;
};

struct PolicyRuns {
  std::string policy;
  std::vector<SeedRun> runs;  // in the order of the seeds
  // Mean over the seeds, in percent; NaN where no seed has a value.
  double allocation(size_t percent) const;
  double fragmentation(size_t percent) const;
  size_t percents() const;  // 0 .. percents() - 1 have been reached by some seed
};

struct ExperimentOptions {
  std::vector<std::string> policies;
  std::vector<uint32_t> seeds;  // empty: all of the workload
  uint32_t scale = 1;           // so many copies of the nodes and the arrivals
  unsigned threads = 1;
  // Called from the working threads, one at a time, after each seed.
  std::function<void(size_t done, size_t runs)> progress;
  const std::atomic<bool>* stop = nullptr;
};

// The orders of these seeds, of all when none is named; `scale` as in ExperimentOptions. Errors: NotFound.
Result<std::vector<Order>> chosen_orders(const Workload& workload, const std::vector<uint32_t>& seeds,
                                         uint32_t scale);

// One PolicyRuns per policy, in their order. Errors: NotFound (policy, seed), Cancelled, Internal.
Result<std::vector<PolicyRuns>> run_experiment(const Workload& workload, const ExperimentOptions& options);

}  // namespace tweendeck::sim

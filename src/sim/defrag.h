// What moving pods would gain after the published experiment: a dry run of the placement engine's advisor.
//
// A policy fills the cluster with the arrivals of a seed. Then pods with GPUs that it refused are offered again, and the
// advisor (placement/defrag) moves running ones out of their way, most GPU per moved pod first. Each step is carried out
// in the simulation's own account, which checks that nothing is over-committed on the way.
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "sim/dataset.h"

namespace tweendeck::sim {

struct DefragStep {  // one proposal of the advisor, together with all before it
  uint64_t moves = 0;
  uint64_t placed = 0;  // pods that were refused and run now
  int64_t allocated_milli = 0;
};

struct DefragRun {
  uint32_t seed = 0;
  uint64_t running = 0;
  uint64_t refused = 0;
  int64_t total_milli = 0;
  int64_t allocated_milli = 0;    // before
  std::vector<DefragStep> steps;  // in order
  // Of the last step that moves no more than this share of the running pods.
  DefragStep at(double moved_percent) const;
  double allocation(double moved_percent) const;  // percent of the cluster's GPUs
};

struct DefragRuns {
  std::string policy;
  std::vector<DefragRun> by_seed;
  double allocation(double moved_percent) const;  // mean of the seeds
  double moved(double moved_percent) const;       // what was moved in fact, percent
};

struct DefragOptions {
  std::vector<std::string> policies;
  std::vector<uint32_t> seeds;    // empty: all of the workload
  double most_moved_percent = 5;  // of the pods that run
  uint32_t scale = 1;             // as in ExperimentOptions
  unsigned threads = 1;
  std::function<void(size_t done, size_t runs)> progress;  // as in ExperimentOptions
  const std::atomic<bool>* stop = nullptr;
};

// One DefragRuns per policy, in their order. Moved pods go where the engine's policy of that name puts them, or its
// default where it has none. Errors: as run_experiment; Internal when a step over-commits.
Result<std::vector<DefragRuns>> run_defrag(const Workload& workload, const DefragOptions& options);

}  // namespace tweendeck::sim

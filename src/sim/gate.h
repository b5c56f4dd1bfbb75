// The gate: the published policies replayed must equal the published result rows, so that what the simulator says of
// other policies can be believed.
#pragma once

#include <atomic>
#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "sim/dataset.h"
#include "sim/trace/published.h"

namespace tweendeck::sim {

inline constexpr size_t kGateFirstPercent = 80;  // rows are compared from here to their end

struct GateCell {
  std::string workload;
  std::string policy;  // as published
  uint32_t seed = 0;
  size_t percent = 0;
  int64_t published_hundredths = 0;
  int64_t replayed_hundredths = 0;
};

struct GateResult {
  size_t rows = 0;
  size_t equal = 0;            // rows with no difference but ties
  std::vector<GateCell> ties;  // 0.01 apart where the replayed mean ends in exactly half a hundredth
  std::vector<GateCell> wrong;
  bool passed() const { return rows > 0 && equal == rows; }
};

struct GateOptions {
  std::string folder;
  size_t max_seeds = SIZE_MAX;  // of each workload and policy
  unsigned threads = 1;
  // Called from the working threads, one at a time, after each row.
  std::function<void(size_t done, size_t rows)> progress;
  const std::atomic<bool>* stop = nullptr;  // set: ends early with Cancelled
};

// Replays every row of the folder's published_rows.csv whose policy is deterministic. Errors: as load_workload_of.
Result<GateResult> run_gate(const GateOptions& options);

}  // namespace tweendeck::sim

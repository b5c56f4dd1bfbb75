// The metrics page with vLLM's names. Counting is safe from any thread; render() is called by one thread.
#pragma once

#include <set>
#include <string>

#include "base/metrics.h"
#include "engine/sim/runner.h"

namespace tweendeck::sim {

// Which LoRA adapters have requests now.
struct AdapterUse {
  std::set<std::string> running;
  std::set<std::string> waiting;
  size_t limit = 0;
};

class SimMetrics {
  Registry registry_;  // first: the references below point into it
  const Labels labels_;

 public:
  SimMetrics(const std::string& model_name, uint64_t blocks);

  void finished(std::string_view reason);
  std::string render(const RunnerState& state, const AdapterUse& adapters, double unix_seconds);

  Histogram& time_to_first_token;
  Histogram& inter_token_latency;
  Histogram& e2e_latency;
  Counter& prompt_tokens;
  Counter& prompt_tokens_cached;
  Counter& generation_tokens;

 private:
  RunnerState last_;  // what the counters below have seen
  Counter& cache_queries_;
  Counter& cache_hits_;
  Counter& preemptions_;
  Gauge& running_;
  Gauge& waiting_;
  Gauge& kv_usage_;
};

}  // namespace tweendeck::sim

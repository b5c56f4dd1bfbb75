// Statistics over the outcomes of a benchmark. Pure.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace tweendeck::bench {

// One finished request, as its client saw it. Times count from the start of the benchmark.
struct Outcome {
  std::string model = {};
  std::string replica = {};  // "" when the answer did not name one
  bool ok = false;
  Reason reason = Reason::None;  // of a failure
  std::string message = {};
  Nanos sent = 0;
  Nanos first_token = 0;
  Nanos last_token = 0;
  Nanos ended = 0;
  uint64_t prompt_tokens = 0;
  uint64_t cached_tokens = 0;  // of the prompt, found in the engine's prefix cache
  uint64_t output_tokens = 0;
  uint32_t turn = 0;            // of its conversation, from 0
  uint64_t history_tokens = 0;  // of the prompt: computed in earlier turns already, answers included
};

struct Percentiles {
  size_t count = 0;
  double mean = 0, p50 = 0, p90 = 0, p99 = 0, max = 0;
};
// Nearest rank: the smallest sample that at least p percent of all samples do not pass.
double percentile(const std::vector<double>& sorted, double p);
Percentiles percentiles(std::vector<double> samples);

struct Group {
  size_t requests = 0;
  uint64_t prompt_tokens = 0;
  uint64_t cached_tokens = 0;
  uint64_t output_tokens = 0;
  Percentiles ttft_ms;
};

struct Summary {
  size_t ok = 0;
  size_t failed = 0;
  double duration_s = 0;
  uint64_t prompt_tokens = 0;
  uint64_t cached_tokens = 0;
  uint64_t output_tokens = 0;
  Percentiles ttft_ms, tpot_ms, e2e_ms;
  Percentiles followup_ttft_ms;           // turns after a conversation's first
  uint64_t recomputed_prompt_tokens = 0;  // follow-up turns: history tokens that no cache gave
  std::map<std::string, Group> by_replica;
  std::map<std::string, Group> by_model;
  std::map<std::string, size_t> failures;  // reason or HTTP status -> requests
  std::string first_failure;               // a message, to act on
};
Summary summarize(const std::vector<Outcome>& outcomes);

}  // namespace tweendeck::bench

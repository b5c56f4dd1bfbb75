// What a benchmark sends and when: plain lists, made ahead from options, a trace and a seed. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "app/bench/prompt.h"
#include "app/bench/trace.h"
#include "base/clock.h"

namespace tweendeck::bench {

struct PlannedRequest {
  Nanos at = 0;  // from the start; all 0 in a closed loop
  std::string model = {};
  PromptSpec prompt = {};
  uint32_t output_tokens = 0;
};

struct SyntheticOptions {
  std::vector<std::string> models = {};
  uint32_t requests = 0;
  uint32_t input_tokens = 256;
  uint32_t output_tokens = 64;
  uint32_t prefix_groups = 0;    // 0 = no prompt shares anything
  uint32_t prefix_percent = 50;  // of a prompt that its group shares
  double rate_per_s = 0;         // Poisson arrivals; 0 = closed loop
  uint64_t seed = 1;
};
std::vector<PlannedRequest> synthetic_workload(const SyntheticOptions& options);

struct TraceOptions {
  std::vector<std::string> models = {};
  double speed = 1;               // 2 = twice as fast
  uint32_t max_input_tokens = 0;  // longer prompts are cut at the end; 0 = none is
  uint32_t max_output_tokens = 0;
};
// Conversations (bench/families.h) take turns over the models: a new one goes to the model that has the
// fewest requests so far, and all of one go to the same.
std::vector<PlannedRequest> trace_workload(const std::vector<TraceRequest>& trace,
                                           const TraceOptions& options);

}  // namespace tweendeck::bench

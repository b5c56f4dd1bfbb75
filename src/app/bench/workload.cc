#include "app/bench/workload.h"

#include <algorithm>
#include <cmath>
#include <map>

#include "app/bench/families.h"

namespace tweendeck::bench {
namespace {

constexpr uint32_t kSyntheticBlockTokens = 16;  // the block size of common prefix caches
// Ids of different purposes never meet: groups count from here, single requests from the other.
constexpr uint64_t kGroupIds = 1ull << 20;
constexpr uint64_t kUniqueIds = 1ull << 24;

PromptSpec synthetic_prompt(const SyntheticOptions& options, uint32_t index, uint64_t& unique_id,
                            Random& random) {
  PromptSpec spec{.blocks = {}, .block_tokens = kSyntheticBlockTokens, .tokens = options.input_tokens};
  uint32_t blocks = (options.input_tokens + kSyntheticBlockTokens - 1) / kSyntheticBlockTokens;
  uint32_t shared = options.prefix_groups == 0 ? 0 : blocks * options.prefix_percent / 100;
  // One group per model and number, so that a shared prefix can be reused where it was computed.
  uint64_t models = options.models.size();
  uint64_t group =
      options.prefix_groups == 0 ? 0 : random.below(options.prefix_groups) * models + index % models;
  for (uint32_t block = 0; block < blocks; ++block) {
    spec.blocks.push_back(block < shared ? kGroupIds + group * blocks + block : unique_id++);
  }
  return spec;
}

// The model of each request, from the family of each.
std::vector<size_t> take_turns(const std::vector<size_t>& families, size_t models) {
  std::vector<size_t> sent(models), chosen;
  std::map<size_t, size_t> model_of;
  for (size_t family : families) {
    auto fewest = static_cast<size_t>(std::ranges::min_element(sent) - sent.begin());
    size_t model = model_of.emplace(family, fewest).first->second;
    ++sent[model];
    chosen.push_back(model);
  }
  return chosen;
}

}  // namespace

std::vector<PlannedRequest> synthetic_workload(const SyntheticOptions& options) {
  Random random(options.seed);
  uint64_t unique_id = kUniqueIds + (options.seed << 16);
  std::vector<PlannedRequest> plan;
  double at_s = 0;
  for (uint32_t i = 0; i < options.requests; ++i) {
    if (options.rate_per_s > 0 && i > 0) at_s += -std::log(1.0 - random.unit()) / options.rate_per_s;
    plan.push_back({.at = static_cast<Nanos>(at_s * static_cast<double>(kSecond)),
                    .model = options.models[i % options.models.size()],
                    .prompt = synthetic_prompt(options, i, unique_id, random),
                    .output_tokens = options.output_tokens});
  }
  return plan;
}

std::vector<PlannedRequest> trace_workload(const std::vector<TraceRequest>& trace,
                                           const TraceOptions& options) {
  std::vector<PlannedRequest> plan;
  plan.reserve(trace.size());
  const std::vector<size_t> models =
      take_turns(families_of(trace, options.models.size()), options.models.size());
  for (size_t i = 0; i < trace.size(); ++i) {
    const TraceRequest& request = trace[i];
    auto cut = [](uint32_t tokens, uint32_t max) { return max == 0 ? tokens : std::min(tokens, max); };
    PlannedRequest planned{
        .at = static_cast<Nanos>(static_cast<double>(request.at) / options.speed),
        .model = options.models[models[i]],
        .prompt = {.blocks = request.hash_ids,
                   .block_tokens = kTraceBlockTokens,
                   .tokens = cut(request.input_tokens, options.max_input_tokens)},
        .output_tokens = std::max(1u, cut(request.output_tokens, options.max_output_tokens))};
    planned.prompt.blocks.resize((planned.prompt.tokens + kTraceBlockTokens - 1) / kTraceBlockTokens);
    plan.push_back(std::move(planned));
  }
  return plan;
}

}  // namespace tweendeck::bench

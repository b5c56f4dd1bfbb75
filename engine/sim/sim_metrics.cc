#include "engine/sim/sim_metrics.h"

#include <fmt/core.h>

#include "base/text.h"

namespace tweendeck::sim {
namespace {

std::string comma_list(const std::set<std::string>& names) {
  return join({names.begin(), names.end()}, ",");
}

}  // namespace

SimMetrics::SimMetrics(const std::string& model_name, uint64_t blocks)
    : labels_{{"model_name", model_name}, {"engine", "0"}},
      time_to_first_token(registry_.histogram("vllm:time_to_first_token_seconds", "Time to first token.",
                                              latency_buckets_seconds(), labels_)),
      inter_token_latency(registry_.histogram("vllm:inter_token_latency_seconds",
                                              "Time between output tokens.", latency_buckets_seconds(),
                                              labels_)),
      e2e_latency(registry_.histogram("vllm:e2e_request_latency_seconds",
                                      "Time from arrival to the last token.", latency_buckets_seconds(),
                                      labels_)),
      prompt_tokens(
          registry_.counter("vllm:prompt_tokens_total", "Prompt tokens of answered requests.", labels_)),
      prompt_tokens_cached(registry_.counter("vllm:prompt_tokens_cached_total",
                                             "Prompt tokens that the prefix cache held.", labels_)),
      generation_tokens(registry_.counter("vllm:generation_tokens_total", "Tokens generated.", labels_)),
      cache_queries_(registry_.counter("vllm:prefix_cache_queries_total",
                                       "Tokens looked up in the prefix cache.", labels_)),
      cache_hits_(
          registry_.counter("vllm:prefix_cache_hits_total", "Tokens found in the prefix cache.", labels_)),
      preemptions_(registry_.counter("vllm:num_preemptions_total",
                                     "Requests preempted for want of KV memory.", labels_)),
      running_(registry_.gauge("vllm:num_requests_running", "Requests in the batch.", labels_)),
      waiting_(registry_.gauge("vllm:num_requests_waiting", "Requests waiting for the batch.", labels_)),
      kv_usage_(registry_.gauge("vllm:kv_cache_usage_perc", "KV memory in use; 1 is all of it.", labels_)) {
  registry_
      .gauge("vllm:cache_config_info", "Block size and number of blocks, as labels.",
             {{"block_size", std::to_string(kBlockTokens)},
              {"num_gpu_blocks", std::to_string(blocks)},
              {"engine", "0"}})
      .set(1);
  registry_.gauge("tweendeck_sim_info", "This engine is simulated.", {{"simulated", "true"}}).set(1);
}

void SimMetrics::finished(std::string_view reason) {
  Labels labels = labels_;
  labels.emplace_back("finished_reason", reason);
  registry_.counter("vllm:request_success_total", "Requests finished, by reason.", labels).add();
}

std::string SimMetrics::render(const RunnerState& state, const AdapterUse& adapters, double unix_seconds) {
  cache_queries_.add(state.counters.cache_queries_tokens - last_.counters.cache_queries_tokens);
  cache_hits_.add(state.counters.cache_hits_tokens - last_.counters.cache_hits_tokens);
  preemptions_.add(state.counters.preemptions - last_.counters.preemptions);
  last_ = state;
  running_.set(static_cast<double>(state.running));
  waiting_.set(static_cast<double>(state.waiting));
  kv_usage_.set(state.kv_usage);
  // One series that changes its labels, so it is not kept in the registry, where every set of labels would
  // stay.
  return registry_.expose() +
         fmt::format(
             "# HELP vllm:lora_requests_info Adapters with requests; the value is the time.\n"
             "# TYPE vllm:lora_requests_info gauge\n"
             "vllm:lora_requests_info{{max_lora=\"{}\",running_lora_adapters={},waiting_lora_adapters={}}} "
             "{:.3f}\n",
             adapters.limit, json_quote(comma_list(adapters.running)),
             json_quote(comma_list(adapters.waiting)), unix_seconds);
}

}  // namespace tweendeck::sim

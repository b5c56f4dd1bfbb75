#include "app/bench/stats.h"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace tweendeck::bench {
namespace {

double milliseconds(Nanos duration) {
  return static_cast<double>(duration) / static_cast<double>(kMillisecond);
}

void add_to(Group& group, const Outcome& outcome) {
  ++group.requests;
  group.prompt_tokens += outcome.prompt_tokens;
  group.cached_tokens += outcome.cached_tokens;
  group.output_tokens += outcome.output_tokens;
}

}  // namespace

double percentile(const std::vector<double>& sorted, double p) {
  if (sorted.empty()) return 0;
  auto rank = static_cast<size_t>(std::ceil(p / 100 * static_cast<double>(sorted.size())));
  return sorted[std::clamp<size_t>(rank, 1, sorted.size()) - 1];
}

Percentiles percentiles(std::vector<double> samples) {
  if (samples.empty()) return {};
  std::sort(samples.begin(), samples.end());
  double sum = std::accumulate(samples.begin(), samples.end(), 0.0);
  return {.count = samples.size(),
          .mean = sum / static_cast<double>(samples.size()),
          .p50 = percentile(samples, 50),
          .p90 = percentile(samples, 90),
          .p99 = percentile(samples, 99),
          .max = samples.back()};
}

Summary summarize(const std::vector<Outcome>& outcomes) {
  Summary summary;
  std::vector<double> ttft, tpot, e2e, followup;
  std::map<std::string, std::vector<double>> replica_ttft, model_ttft;
  Nanos first_sent = 0, last_ended = 0;
  for (size_t i = 0; i < outcomes.size(); ++i) {
    const Outcome& outcome = outcomes[i];
    first_sent = i == 0 ? outcome.sent : std::min(first_sent, outcome.sent);
    last_ended = std::max(last_ended, outcome.ended);
    if (!outcome.ok) {
      ++summary.failed;
      ++summary.failures[std::string(to_string(outcome.reason))];
      if (summary.first_failure.empty()) summary.first_failure = outcome.message;
      continue;
    }
    ++summary.ok;
    summary.prompt_tokens += outcome.prompt_tokens;
    summary.cached_tokens += outcome.cached_tokens;
    summary.output_tokens += outcome.output_tokens;
    double to_first = milliseconds(outcome.first_token - outcome.sent);
    ttft.push_back(to_first);
    e2e.push_back(milliseconds(outcome.ended - outcome.sent));
    if (outcome.output_tokens > 1) {
      tpot.push_back(milliseconds(outcome.last_token - outcome.first_token) /
                     static_cast<double>(outcome.output_tokens - 1));
    }
    if (outcome.turn > 0) {
      followup.push_back(to_first);
      uint64_t history = std::min(outcome.history_tokens, outcome.prompt_tokens);
      summary.recomputed_prompt_tokens += history - std::min(outcome.cached_tokens, history);
    }
    std::string replica = outcome.replica.empty() ? "unknown" : outcome.replica;
    add_to(summary.by_replica[replica], outcome);
    add_to(summary.by_model[outcome.model], outcome);
    replica_ttft[replica].push_back(to_first);
    model_ttft[outcome.model].push_back(to_first);
  }
  summary.duration_s = milliseconds(last_ended - first_sent) / 1000;
  summary.ttft_ms = percentiles(std::move(ttft));
  summary.tpot_ms = percentiles(std::move(tpot));
  summary.e2e_ms = percentiles(std::move(e2e));
  summary.followup_ttft_ms = percentiles(std::move(followup));
  for (auto& [name, samples] : replica_ttft)
    summary.by_replica[name].ttft_ms = percentiles(std::move(samples));
  for (auto& [name, samples] : model_ttft) summary.by_model[name].ttft_ms = percentiles(std::move(samples));
  return summary;
}

}  // namespace tweendeck::bench

#include "app/bench/report.h"

#include <fmt/format.h>

#include "app/cli/terminal.h"
#include "base/text.h"
#include "net/json.h"

namespace tweendeck::bench {
namespace {

std::string ms(double value) {
  if (value >= 10'000) return fmt::format("{:.1f} s", value / 1000);
  return value >= 100 ? fmt::format("{:.0f} ms", value) : fmt::format("{:.1f} ms", value);
}

double percent(uint64_t part, uint64_t whole) {
  return whole == 0 ? 0 : 100.0 * static_cast<double>(part) / static_cast<double>(whole);
}

double per_second(uint64_t amount, double duration_s) {
  return duration_s > 0 ? static_cast<double>(amount) / duration_s : 0;
}

void latency_row(cli::Table& table, std::string name, const Percentiles& p) {
  if (p.count == 0) return;
  table.row({std::move(name), ms(p.mean), ms(p.p50), ms(p.p90), ms(p.p99), ms(p.max)});
}

cli::Table group_table(std::string_view heading, const std::map<std::string, Group>& groups,
                       const Summary& summary) {
  cli::Table table(
      {std::string(heading), "REQUESTS", "SHARE", "TTFT P50", "TTFT P99", "PREFIX HITS", "OUTPUT TOK/S"});
  for (size_t column = 1; column < 7; ++column) table.right_align(column);
  for (const auto& [name, group] : groups) {
    table.row({name, std::to_string(group.requests),
               fmt::format("{:.0f} %", percent(group.requests, summary.ok)), ms(group.ttft_ms.p50),
               ms(group.ttft_ms.p99),
               fmt::format("{:.0f} %", percent(group.cached_tokens, group.prompt_tokens)),
               fmt::format("{:.1f}", per_second(group.output_tokens, summary.duration_s))});
  }
  return table;
}

void write_percentiles(net::JsonWriter& w, std::string_view key, const Percentiles& p) {
  w.object(key).field("count", static_cast<uint64_t>(p.count)).field("mean", p.mean).field("p50", p.p50);
  w.field("p90", p.p90).field("p99", p.p99).field("max", p.max).end();
}

void write_groups(net::JsonWriter& w, std::string_view key, const std::map<std::string, Group>& groups) {
  w.array(key);
  for (const auto& [name, group] : groups) {
    w.object().field("name", name).field("requests", static_cast<uint64_t>(group.requests));
    w.field("prompt_tokens", group.prompt_tokens).field("cached_prompt_tokens", group.cached_tokens);
    w.field("output_tokens", group.output_tokens);
    write_percentiles(w, "ttft_ms", group.ttft_ms);
    w.end();
  }
  w.end();
}

}  // namespace

std::string report_table(const ReportHead& head, const Summary& s, bool color) {
  std::string out = fmt::format(
      "{}: {}{}\n", fmt::join(head.models, ", "), head.mode,
      head.simulated ? " (simulated engines: timings are modelled, not measured on hardware)" : "");
  out += fmt::format("{} ok, {} failed in {:.1f} s ({:.2f} requests/s)\n", counted(s.ok, "request"), s.failed,
                     s.duration_s, per_second(s.ok, s.duration_s));
  for (const auto& [reason, count] : s.failures)
    out += fmt::format("  {} x {}: {}\n", count, reason, s.first_failure);
  out += fmt::format("prompt {} tokens, prefix hits {} ({:.0f} %); output {} tokens, {:.1f} tok/s\n\n",
                     s.prompt_tokens, s.cached_tokens, percent(s.cached_tokens, s.prompt_tokens),
                     s.output_tokens, per_second(s.output_tokens, s.duration_s));
  cli::Table latency({"LATENCY", "MEAN", "P50", "P90", "P99", "MAX"});
  for (size_t column = 1; column < 6; ++column) latency.right_align(column);
  latency_row(latency, "ttft", s.ttft_ms);
  latency_row(latency, "ttft of follow-ups", s.followup_ttft_ms);
  latency_row(latency, "tpot", s.tpot_ms);
  latency_row(latency, "e2e", s.e2e_ms);
  out += latency.render(color);
  if (s.followup_ttft_ms.count > 0) {
    out += fmt::format("follow-up turns computed {} tokens of their history again\n",
                       s.recomputed_prompt_tokens);
  }
  if (s.by_model.size() > 1) out += "\n" + group_table("MODEL", s.by_model, s).render(color);
  out += "\n" + group_table("REPLICA", s.by_replica, s).render(color);
  return out;
}

std::string report_json(const ReportHead& head, const Summary& s) {
  net::JsonWriter w;
  w.object().field("mode", head.mode).array("models");
  for (const std::string& model : head.models) w.value(model);
  w.end().field("simulated", head.simulated);
  w.field("ok", static_cast<uint64_t>(s.ok)).field("failed", static_cast<uint64_t>(s.failed));
  w.object("failures");
  for (const auto& [reason, count] : s.failures) w.field(reason, static_cast<uint64_t>(count));
  w.end().field("duration_s", s.duration_s).field("requests_per_s", per_second(s.ok, s.duration_s));
  w.field("prompt_tokens", s.prompt_tokens).field("cached_prompt_tokens", s.cached_tokens);
  w.field("recomputed_prompt_tokens", s.recomputed_prompt_tokens).field("output_tokens", s.output_tokens);
  w.field("output_tokens_per_s", per_second(s.output_tokens, s.duration_s));
  write_percentiles(w, "ttft_ms", s.ttft_ms);
  write_percentiles(w, "followup_ttft_ms", s.followup_ttft_ms);
  write_percentiles(w, "tpot_ms", s.tpot_ms);
  write_percentiles(w, "e2e_ms", s.e2e_ms);
  write_groups(w, "by_model", s.by_model);
  write_groups(w, "replicas", s.by_replica);
  w.end();
  return w.take();
}

}  // namespace tweendeck::bench

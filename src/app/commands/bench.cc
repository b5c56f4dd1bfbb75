#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <atomic>

#include "app/bench/report.h"
#include "app/bench/runner.h"
#include "app/cli/terminal.h"
#include "app/client/gateway_target.h"
#include "app/client/local_api.h"
#include "app/commands/commands.h"
#include "app/commands/show.h"

namespace tweendeck::commands {
namespace {

constexpr size_t kMaxOpenRequests =
    4096;  // in flight at once in an open loop: what one process can hold open

constexpr int kInterruptedExit = 128 + SIGINT;

std::atomic<bool> g_interrupted{false};
void on_interrupt(int) {
  g_interrupted = true;
}

// What the local daemon knows of the models; a foreign gateway gives nothing.
struct Served {
  size_t ready_replicas = 0;
  bool simulated = false;
};
Served look_up(const cli::Invocation& in, const std::vector<std::string>& models) {
  Served served;
  if (in.is_set("gateway")) return served;
  Result<client::LocalApi> api = client::LocalApi::of(in);
  if (!api) return served;
  Result<client::ApiAnswer> answer = api->get("/v1/deployments");
  if (!answer) return served;
  for (const net::JsonValue& deployment : answer->json["deployments"].items()) {
    if (std::find(models.begin(), models.end(), text_of(deployment, "name")) == models.end()) continue;
    served.ready_replicas += count_of(deployment, "ready");
    for (const net::JsonValue& replica : deployment["replicas"].items()) {
      served.simulated = served.simulated || replica["simulated"].bool_or(false);
    }
  }
  return served;
}

class Bench {
 public:
  Bench(const cli::Invocation& in, client::ChatTarget target, cli::Output& output)
      : in_(in),
        output_(output),
        client_(std::move(target), clock_),
        progress_(output),
        served_(look_up(in, in.args())) {
    head_.models = in.args();
    head_.simulated = served_.simulated;
  }

  Result<std::vector<bench::Outcome>> run() {
    if (in_.is_set("trace")) return run_trace();
    if (in_.count("conversations") > 0) return run_conversations();
    return run_synthetic();
  }
  const bench::ReportHead& head() const { return head_; }

 private:
  Result<std::vector<bench::Outcome>> run_trace() {
    Result<std::vector<bench::TraceRequest>> trace = bench::load_trace(in_.text("trace"), in_.count("limit"));
    if (!trace) return fail(trace.error());
    double speed = in_.number("speed");
    if (speed <= 0)
      return fail(Reason::InvalidArgument, "--speed is 0", "1 is the trace's own pace, 10 ten times faster");
    head_.mode = fmt::format("trace {} at {}x, {} requests", in_.text("trace"), speed, trace->size());
    return run_plan(bench::trace_workload(*trace, {.models = in_.args(),
                                                   .speed = speed,
                                                   .max_input_tokens = count32("max-input-tokens"),
                                                   .max_output_tokens = count32("max-output-tokens")}),
                    kMaxOpenRequests);
  }

  Result<std::vector<bench::Outcome>> run_conversations() {
    size_t in_flight =
        in_.is_set("concurrency") ? in_.count("concurrency") : std::max<size_t>(served_.ready_replicas, 1);
    bench::ConversationOptions options{.models = in_.args(),
                                       .conversations = count32("conversations"),
                                       .turns = count32("turns"),
                                       .first_tokens = count32("input-tokens"),
                                       .turn_tokens = count32("turn-tokens"),
                                       .output_tokens = count32("output-tokens"),
                                       .max_in_flight = std::max<size_t>(in_flight, 1),
                                       .seed = in_.count("seed")};
    head_.mode = fmt::format("{} conversations of {} turns in lockstep, waves of {}", options.conversations,
                             options.turns, options.max_in_flight);
    return bench::run_conversations(client_, clock_, options, on_status());
  }

  Result<std::vector<bench::Outcome>> run_synthetic() {
    double rate = in_.number("rate");
    size_t concurrency = std::max<size_t>(in_.count("concurrency"), 1);
    head_.mode = rate > 0 ? fmt::format("open loop, {} requests/s", rate)
                          : fmt::format("closed loop, {} at once", concurrency);
    return run_plan(bench::synthetic_workload({.models = in_.args(),
                                               .requests = count32("requests"),
                                               .input_tokens = std::max(count32("input-tokens"), 1u),
                                               .output_tokens = std::max(count32("output-tokens"), 1u),
                                               .prefix_groups = count32("prefix-groups"),
                                               .prefix_percent = count32("prefix-percent"),
                                               .rate_per_s = rate,
                                               .seed = in_.count("seed")}),
                    rate > 0 ? kMaxOpenRequests : concurrency);
  }

  Result<std::vector<bench::Outcome>> run_plan(const std::vector<bench::PlannedRequest>& plan,
                                               size_t in_flight) {
    return bench::run_plan(client_, clock_, plan, in_flight, on_status());
  }

  bench::OnStatus on_status() {
    return [this](const bench::RunStatus& status) {
      // Elsewhere than on a terminal, one line per tenth is enough.
      size_t shown =
          output_.err_is_terminal ? status.finished : status.finished - status.finished % tenth(status.total);
      std::string line = fmt::format("{} of {} requests done", shown, status.total);
      if (output_.err_is_terminal) line += fmt::format(", {} in flight", status.active);
      if (status.failed > 0) line += fmt::format(", {} failed", status.failed);
      progress_.update(line);
      return !g_interrupted;
    };
  }

  static size_t tenth(size_t total) { return std::max<size_t>(total / 10, 1); }
  uint32_t count32(std::string_view flag) const { return static_cast<uint32_t>(in_.count(flag)); }

  const cli::Invocation& in_;
  cli::Output& output_;
  SystemClock clock_;
  client::ChatClient client_;
  cli::Progress progress_;
  Served served_;
  bench::ReportHead head_;
};

Result<int> run(const cli::Invocation& in, cli::Output& output) {
  Result<client::ChatTarget> target = client::gateway_target(in);
  if (!target) return fail(target.error());
  target->timeout = in.duration("timeout");
  signal(SIGINT, on_interrupt);
  bench::Summary summary;
  bench::ReportHead head;
  {
    Bench bench(in, *target, output);
    Result<std::vector<bench::Outcome>> outcomes = bench.run();
    if (!outcomes) return fail(outcomes.error());
    summary = bench::summarize(*outcomes);
    head = bench.head();
  }
  if (g_interrupted && summary.ok + summary.failed == 0) {
    output.note("interrupted before any request was done");
    return kInterruptedExit;
  }
  if (output.json)
    output.line(bench::report_json(head, summary));
  else
    output.print(bench::report_table(head, summary, output.out_color));
  if (g_interrupted) return kInterruptedExit;
  return summary.failed == 0 && summary.ok > 0 ? 0 : static_cast<int>(ExitCode::General);
}

}  // namespace

cli::Command bench_command() {
  using cli::FlagKind;
  std::vector<cli::Flag> flags = {
      {.name = "requests",
       .kind = FlagKind::Count,
       .fallback = "50",
       .help = "how many, in open and closed loop"},
      {.name = "concurrency",
       .kind = FlagKind::Count,
       .fallback = "4",
       .help = "closed loop: requests in flight at once; with --conversations the size of a wave, by default "
               "one per ready replica",
       .max = kMaxOpenRequests},
      {.name = "rate",
       .kind = FlagKind::Number,
       .value = "R",
       .fallback = "0",
       .help = "open loop: Poisson arrivals, R per second"},
      {.name = "trace",
       .kind = FlagKind::Text,
       .value = "FILE",
       .help = "replay a trace in the Mooncake format (JSONL)",
       .complete = cli::Complete::File},
      {.name = "speed", .kind = FlagKind::Number, .fallback = "1", .help = "trace: this many times faster"},
      {.name = "limit",
       .kind = FlagKind::Count,
       .fallback = "0",
       .help = "trace: only the first N requests; 0 = all"},
      {.name = "max-input-tokens",
       .kind = FlagKind::Count,
       .fallback = "0",
       .help = "trace: cut longer prompts; 0 = never"},
      {.name = "max-output-tokens",
       .kind = FlagKind::Count,
       .fallback = "0",
       .help = "trace: cut longer answers; 0 = never"},
      {.name = "conversations",
       .kind = FlagKind::Count,
       .fallback = "0",
       .help = "this many conversations in lockstep",
       .max = 100'000},
      {.name = "turns",
       .kind = FlagKind::Count,
       .fallback = "6",
       .help = "turns of each conversation",
       .max = 10'000},
      {.name = "input-tokens",
       .kind = FlagKind::Count,
       .fallback = "256",
       .help = "prompt length; of a conversation's first message",
       .max = 1'000'000},
      {.name = "turn-tokens",
       .kind = FlagKind::Count,
       .fallback = "16",
       .help = "length of each later message of a conversation",
       .max = 1'000'000},
      {.name = "output-tokens",
       .kind = FlagKind::Count,
       .fallback = "64",
       .help = "answer length",
       .max = 1'000'000},
      {.name = "prefix-groups",
       .kind = FlagKind::Count,
       .fallback = "0",
       .help = "prompts of a group share a prefix; 0 = none share",
       .max = 1'000'000},
      {.name = "prefix-percent",
       .kind = FlagKind::Count,
       .fallback = "50",
       .help = "how much of a prompt its group shares",
       .max = 100},
      {.name = "seed",
       .kind = FlagKind::Count,
       .fallback = "1",
       .help = "another seed, other prompts and arrivals",
       .max = UINT32_MAX},
      {.name = "timeout",
       .kind = FlagKind::Duration,
       .fallback = "600s",
       .help = "longest wait for one answer"}};
  for (cli::Flag& flag : client::gateway_flags()) flags.push_back(std::move(flag));
  return {
      .name = "bench",
      .group = kGroupServe,
      .summary =
          "Measure served models: time to first token, tokens per second, prefix hits, shares per replica",
      .about =
          "Closed loop by default; --rate makes it an open loop, --trace replays one, --conversations keeps "
          "histories.\n"
          "Prompts are synthesised; equal blocks of a trace get equal text. With several models, requests "
          "take turns.",
      .args =
          {{.name = "MODEL", .help = "served models", .rest = true, .complete = cli::Complete::Deployment}},
      .flags = std::move(flags),
      .examples = {{"bench smollm2 --requests 20 --concurrency 2", "closed loop"},
                   {"bench smollm2 --conversations 9 --turns 6", "does prefix routing pay?"},
                   {"bench sim-8b sim-3b --trace mooncake_conversation_trace.jsonl --speed 10 --limit 500",
                    "a recorded load"}},
      .exit_note = "1 when a request failed, 130 when interrupted",
      .run = run};
}

}  // namespace tweendeck::commands

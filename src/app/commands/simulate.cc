// tweendeck simulate placement: policies tried on traces, in virtual time and without a daemon.
#include <fmt/format.h>
#include <signal.h>

#include <algorithm>
#include <atomic>
#include <filesystem>
#include <thread>

#include "app/cli/terminal.h"
#include "app/commands/commands.h"
#include "app/simulate/inflation_report.h"
#include "base/text.h"
#include "base/units.h"
#include "net/json.h"
#include "sim/experiment.h"
#include "sim/gate.h"
#include "sim/policies.h"

namespace tweendeck::commands {
namespace {

constexpr uint64_t kMaxScale = 64;
constexpr uint64_t kMaxThreads = 256;
constexpr size_t kRowsPerStep = 10;  // of the gate's progress
constexpr size_t kTablePoints[] = {80, 85, 90, 95, 100, 105, 110, 120, 130};
constexpr int kInterruptedExit = 130;

std::atomic<bool> g_stop = false;
void on_interrupt(int) {
  g_stop = true;
}

// An interrupt ends as 128 + SIGINT, like any program; other errors keep theirs.
Result<int> ended(const Error& error) {
  if (error.reason == Reason::Cancelled && g_stop) return kInterruptedExit;
  return fail(error);
}

unsigned threads_of(const cli::Invocation& in) {
  unsigned wanted = static_cast<unsigned>(in.count("threads"));
  return wanted != 0 ? wanted : std::max(1u, std::thread::hardware_concurrency());
}

std::string hundredths(int64_t value) {
  return fmt::format("{}.{:02}", value / 100, value % 100);
}

void print_cells(const cli::Output& output, std::string_view title, const std::vector<sim::GateCell>& cells) {
  if (cells.empty()) return;
  output.line(title);
  cli::Table table({"WORKLOAD", "POLICY", "SEED", "@", "PUBLISHED", "REPLAYED"});
  for (const sim::GateCell& cell : cells) {
    table.row({cell.workload, cell.policy, fmt::to_string(cell.seed), fmt::to_string(cell.percent),
               hundredths(cell.published_hundredths), hundredths(cell.replayed_hundredths)});
  }
  output.print(table.render(output.out_color));
}

void write_cells(net::JsonWriter& w, std::string_view key, const std::vector<sim::GateCell>& cells) {
  w.array(key);
  for (const sim::GateCell& cell : cells) {
    w.object().field("workload", cell.workload).field("policy", cell.policy).field("seed", cell.seed);
    w.field("percent", static_cast<uint64_t>(cell.percent));
    w.field("published", static_cast<double>(cell.published_hundredths) / 100);
    w.field("replayed", static_cast<double>(cell.replayed_hundredths) / 100).end();
  }
  w.end();
}

Result<int> run_gate(const cli::Invocation& in, const cli::Output& output) {
  cli::Progress progress(output);
  auto step = [&](size_t done, size_t rows) {
    if (done % kRowsPerStep == 0 || done == rows)
      progress.update(fmt::format("{} of {} rows replayed", done, rows));
  };
  Result<sim::GateResult> result = sim::run_gate(
      {.folder = in.text("data"), .threads = threads_of(in), .progress = step, .stop = &g_stop});
  progress.done();
  if (!result) return ended(result.error());
  if (output.json) {
    net::JsonWriter w;
    w.object().field("rows", static_cast<uint64_t>(result->rows));
    w.field("equal", static_cast<uint64_t>(result->equal)).field("passed", result->passed());
    write_cells(w, "ties", result->ties);
    write_cells(w, "wrong", result->wrong);
    output.line(w.end().text());
  } else {
    print_cells(output, "0.01 apart, where the mean ends in exactly half a hundredth:", result->ties);
    print_cells(output, "different:", result->wrong);
    output.line(fmt::format("{} of {} published rows are equal from @{} on", result->equal, result->rows,
                            sim::kGateFirstPercent));
  }
  return result->passed() ? 0 : static_cast<int>(ExitCode::General);
}

// "42-51,60": seeds and ranges of seeds.
Result<std::vector<uint32_t>> parse_seeds(const std::vector<std::string>& words) {
  std::vector<uint32_t> seeds;
  for (const std::string& word : words) {
    size_t dash = word.find('-');
    Result<uint64_t> first = parse_count(word.substr(0, dash), UINT32_MAX, "--seeds");
    if (!first) return fail(first.error());
    Result<uint64_t> last =
        dash == std::string::npos ? first : parse_count(word.substr(dash + 1), UINT32_MAX, "--seeds");
    if (!last) return fail(last.error());
    if (*last < *first || *last - *first >= sim::kMaxSeeds) {
      return fail(Reason::InvalidArgument, fmt::format("--seeds has the range {}", word),
                  fmt::format("write it like 42-51, with at most {} seeds", sim::kMaxSeeds));
    }
    for (uint64_t seed = *first; seed <= *last; ++seed) seeds.push_back(static_cast<uint32_t>(seed));
  }
  return seeds;
}

Result<std::vector<sim::Workload>> load_workloads(const cli::Invocation& in) {
  std::vector<sim::Workload> workloads;
  if (in.is_set("nodes") || in.is_set("pods") || in.is_set("order")) {
    for (std::string_view flag : {"nodes", "pods", "order"}) {
      if (!in.is_set(flag)) {
        return fail(Reason::InvalidArgument, fmt::format("--{} is missing", flag),
                    "a trace is --nodes, --pods and --order, or a folder of --data");
      }
    }
    std::string name = std::filesystem::path(in.text("pods")).stem().string();
    Result<sim::Workload> workload =
        sim::load_workload(name, in.text("nodes"), in.text("pods"), in.text("order"));
    if (!workload) return fail(workload.error());
    workloads.push_back(std::move(*workload));
    return workloads;
  }
  std::vector<std::string> names = in.list("workload");
  if (names.empty()) {
    Result<std::vector<std::string>> all = sim::workloads_of(in.text("data"));
    if (!all) return fail(all.error());
    names = std::move(*all);
  }
  for (const std::string& name : names) {
    Result<sim::Workload> workload = sim::load_workload_of(in.text("data"), name);
    if (!workload) return fail(workload.error());
    workloads.push_back(std::move(*workload));
  }
  return workloads;
}

// --policy's names, then those of --compare that are not among them.
struct Policies {
  std::vector<std::string> names;
  size_t compare_from = 0;
};

Result<Policies> chosen_policies(const cli::Invocation& in) {
  Policies policies;
  auto add = [&](const std::string& name) -> Status {
    std::vector<std::string_view> known = sim::policy_names();
    if (std::ranges::find(known, name) == known.end()) {
      std::string_view meant = nearest(name, known);
      std::vector<std::string> all(known.begin(), known.end());
      return fail(Reason::NotFound, fmt::format("no policy '{}'", name),
                  meant.empty() ? "known: " + join(all, ", ") : fmt::format("did you mean {}?", meant));
    }
    if (std::ranges::find(policies.names, name) == policies.names.end()) policies.names.push_back(name);
    return {};
  };
  for (const std::string& name : in.list("policy"))
    if (Status added = add(name); !added) return fail(added.error());
  policies.compare_from = policies.names.size();
  for (const std::string& name : in.list("compare"))
    if (Status added = add(name); !added) return fail(added.error());
  return policies;
}

Result<int> run_inflation(const cli::Invocation& in, const cli::Output& output) {
  Result<Policies> policies = chosen_policies(in);
  if (!policies) return fail(policies.error());
  Result<std::vector<uint32_t>> seeds = parse_seeds(in.list("seeds"));
  if (!seeds) return fail(seeds.error());
  Result<std::vector<sim::Workload>> workloads = load_workloads(in);
  if (!workloads) return fail(workloads.error());
  std::vector<simulate::InflationReport> reports;
  for (const sim::Workload& workload : *workloads) {
    cli::Progress progress(output);
    auto step = [&](size_t done, size_t runs) {
      progress.update(fmt::format("{}: {} of {} runs", workload.name, done, runs));
    };
    Result<std::vector<sim::PolicyRuns>> runs =
        sim::run_experiment(workload, {.policies = policies->names,
                                       .seeds = *seeds,
                                       .scale = static_cast<uint32_t>(in.count("scale")),
                                       .threads = threads_of(in),
                                       .progress = step,
                                       .stop = &g_stop});
    progress.done();
    if (!runs) return ended(runs.error());
    reports.push_back({workload.name,
                       std::move(*runs),
                       workload.pods.queues,
                       policies->compare_from,
                       {std::begin(kTablePoints), std::end(kTablePoints)}});
    if (output.json) continue;
    if (reports.size() > 1) output.line("");
    output.print(simulate::report_table(reports.back(), output.out_color));
    output.flush();
  }
  if (output.json) output.line(simulate::report_json(reports));
  return 0;
}

Result<int> run(const cli::Invocation& in, cli::Output& output) {
  if (in.arg(0) != "placement") {
    return fail(Reason::InvalidArgument, fmt::format("nothing to simulate is called '{}'", in.arg(0)),
                "write: tweendeck simulate placement");
  }
  signal(SIGINT, on_interrupt);
  return in.on("gate") ? run_gate(in, output) : run_inflation(in, output);
}

}  // namespace

cli::Command simulate_command() {
  using cli::FlagKind;
  return {
      .name = "simulate",
      .group = kGroupOther,
      .summary = "Try placement policies on cluster traces, in virtual time and without a daemon",
      .about =
          "Replays arrivals on a cluster's nodes and shows how much of its GPUs each policy allocates.\n"
          "A trace is --nodes, --pods and --order, or a folder of such files (--data). "
          "docs/guides/simulate.md "
          "describes the formats.",
      .args = {{.name = "WHAT", .help = "placement"}},
      .flags = {{.name = "data",
                 .kind = FlagKind::Text,
                 .value = "DIR",
                 .fallback = "gpu-cluster",
                 .help = "folder of traces: all its workloads, or those of --workload",
                 .env = "TWEENDECK_TRACES",
                 .complete = cli::Complete::Directory},
                {.name = "workload", .kind = FlagKind::List, .help = "workloads of --data, by name"},
                {.name = "nodes",
                 .kind = FlagKind::Text,
                 .value = "FILE",
                 .help = "CSV of nodes",
                 .complete = cli::Complete::File},
                {.name = "pods",
                 .kind = FlagKind::Text,
                 .value = "FILE",
                 .help = "CSV of pods",
                 .complete = cli::Complete::File},
                {.name = "order",
                 .kind = FlagKind::Text,
                 .value = "FILE",
                 .help = "orders of arrival, one per seed; may be gzip",
                 .complete = cli::Complete::File},
                {.name = "policy", .kind = FlagKind::List, .fallback = "fgd", .help = "policies to try"},
                {.name = "compare", .kind = FlagKind::List, .help = "policies to set them against"},
                {.name = "seeds",
                 .kind = FlagKind::List,
                 .help = "seeds of the orders, like 42-51; all by default"},
                {.name = "scale",
                 .kind = FlagKind::Count,
                 .fallback = "1",
                 .help = "so many copies of the nodes, and the arrivals as often",
                 .max = kMaxScale},
                {.name = "threads",
                 .kind = FlagKind::Count,
                 .fallback = "0",
                 .help = "0 = one per CPU",
                 .max = kMaxThreads},
                {.name = "gate",
                 .help = "replay the published policies and compare them with the folder's published rows"}},
      .examples =
          {{"simulate placement --gate --data traces/gpu-cluster", "can the simulator be believed?"},
           {"simulate placement --policy bestfit --compare fgd --workload default --data traces/gpu-cluster",
            "two policies on one workload"},
           {"simulate placement --nodes nodes.csv --pods pods.csv --order order.txt.gz --policy fgd",
            "a trace of your own"}},
      .exit_note = "1 when --gate finds a row that differs, 130 when interrupted",
      .run = run};
}

}  // namespace tweendeck::commands

// tweendeck simulate placement: policies tried on traces, in virtual time and without a daemon.
#include <fmt/format.h>
#include <signal.h>

#include <atomic>

#include "app/cli/terminal.h"
#include "app/commands/commands.h"
#include "app/simulate/runs.h"
#include "sim/load.h"

namespace tweendeck::commands {
namespace {

constexpr uint64_t kMaxScale = 64;

std::atomic<bool> g_stop = false;
void on_interrupt(int) {
  g_stop = true;
}

Result<int> run(const cli::Invocation& in, cli::Output& output) {
  if (in.arg(0) != "placement") {
    return fail(Reason::InvalidArgument, fmt::format("nothing to simulate is called '{}'", in.arg(0)),
                "write: tweendeck simulate placement");
  }
  signal(SIGINT, on_interrupt);
  const simulate::Context context{in, output, g_stop};
  if (in.on("gate")) return simulate::run_gate(context);
  for (const std::string_view flag : {"log", "why", "what-if", "at"})
    if (in.is_set(flag)) return simulate::run_replay(context);
  if (in.is_set("events")) return simulate::run_events(context);
  if (in.is_set("defrag")) return simulate::run_defrag(context);
  return in.is_set("load") ? simulate::run_load(context) : simulate::run_inflation(context);
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
      .flags =
          {{.name = "data",
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
           {.name = "policy",
            .kind = FlagKind::List,
            .help = "policies to try; the engine's default if none is named"},
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
            .max = simulate::kMaxThreads},
           {.name = "load",
            .kind = FlagKind::List,
            .value = "PERCENT",
            .help = "pods come at these offered loads, wait, run for lifetimes of the trace, and leave"},
           {.name = "arrivals",
            .kind = FlagKind::Count,
            .fallback = "100000",
            .help = "with --load: so many arrivals per run",
            .max = sim::kMaxStreamArrivals},
           {.name = "longest",
            .kind = FlagKind::Duration,
            .fallback = "6h",
            .help = "with --load: lifetimes are cut to it; 0 = not at all"},
           {.name = "events",
            .kind = FlagKind::Text,
            .value = "FILE",
            .help = "replay a log of arrivals, lifetimes and lost nodes",
            .complete = cli::Complete::File},
           {.name = "log",
            .kind = FlagKind::Text,
            .value = "FILE",
            .help = "an event log of the placement engine: how it stands at the end, or why a claim waits",
            .complete = cli::Complete::File},
           {.name = "why",
            .kind = FlagKind::Text,
            .value = "CLAIM",
            .help = "why this claim of the log, or this pod of the trace, waits, and what would help"},
           {.name = "at",
            .kind = FlagKind::Duration,
            .help = "with --log and --why: look at this time instead of at the end"},
           {.name = "what-if",
            .kind = FlagKind::List,
            .value = "EVENT",
            .help = "suppose an event then, in a log's words, or a claim: 'claim devices=2 compute=1000'"},
           {.name = "starts-at-once",
            .help = "with --log: what is placed runs at once, for logs without bind-confirmed lines"},
           {.name = "preempt", .help = "with --log and --why: claims without room may have others stopped"},
           {.name = "defrag",
            .kind = FlagKind::Number,
            .value = "PERCENT",
            .help = "a dry run: what moving at most so many of the running pods would gain afterwards"},
           {.name = "svg",
            .kind = FlagKind::Text,
            .value = "FILE",
            .help = "draw the curves into this file; several workloads: FILE-NAME.svg each",
            .complete = cli::Complete::File},
           {.name = "gate",
            .help = "replay the published policies and compare them with the folder's published rows"}},
      .examples =
          {{"simulate placement --gate --data traces/gpu-cluster", "can the simulator be believed?"},
           {"simulate placement --policy bestfit --compare fgd --workload default --data traces/gpu-cluster",
            "two policies on one workload"},
           {"simulate placement --log cluster.log --why 17", "why claim 17 waits, and what would help"},
           {"simulate placement --log cluster.log --at 10m --why 17 -o json",
            "the same ten minutes in, for programs"},
           {"simulate placement --defrag 5 --policy fgd --workload default --data traces/gpu-cluster",
            "what moving at most 5 % of the pods would gain"},
           {"simulate placement --nodes nodes.csv --pods pods.csv --order order.txt.gz --policy fgd",
            "a trace of your own"}},
      .exit_note = "1 when --gate finds a row that differs, 130 when interrupted",
      .run = run};
}

}  // namespace tweendeck::commands

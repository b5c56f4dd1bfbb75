#include "app/simulate/defrag_report.h"

#include <fmt/format.h>

#include "app/cli/terminal.h"
#include "base/text.h"
#include "net/json.h"

namespace tweendeck::simulate {

namespace {

constexpr double kRoundShares[] = {0, 0.25, 0.5, 1, 1.5, 2, 3, 4, 5, 7.5, 10, 20, 50, 100};

template <class Value>
double mean(const sim::DefragRuns& runs, Value value) {
  double sum = 0;
  for (const sim::DefragRun& run : runs.by_seed) sum += static_cast<double>(value(run));
  return sum / static_cast<double>(runs.by_seed.size());
}

std::string policy_text(const sim::DefragRuns& runs, const DefragReport& report, bool color) {
  const double most = report.most_moved_percent;
  std::string text = fmt::format("{}: {:.0f} pods run, {:.0f} were refused\n", runs.policy,
                                 mean(runs, [](const sim::DefragRun& run) { return run.running; }),
                                 mean(runs, [](const sim::DefragRun& run) { return run.refused; }));
  cli::Table table({"MAY BE MOVED", "MOVED", "PODS MOVED", "PODS PLACED", "ALLOCATED", "GAIN"});
  for (size_t column = 0; column < 6; ++column) table.right_align(column);
  double last_moved = -1;
  for (const double share : moved_points(most)) {
    const double moved = runs.moved(share);
    if (moved == last_moved) continue;  // nothing more to gain
    last_moved = moved;
    table.row(
        {fmt::format("{:g} %", share), fmt::format("{:.2f} %", moved),
         fmt::format("{:.0f}", mean(runs, [&](const sim::DefragRun& run) { return run.at(share).moves; })),
         fmt::format("{:.0f}", mean(runs, [&](const sim::DefragRun& run) { return run.at(share).placed; })),
         fmt::format("{:.2f} %", runs.allocation(share)),
         fmt::format("{:+.2f}", runs.allocation(share) - runs.allocation(0))});
  }
  return text + table.render(color);
}

}  // namespace

std::vector<double> moved_points(double most_moved_percent) {
  std::vector<double> points;
  for (const double share : kRoundShares)
    if (share < most_moved_percent) points.push_back(share);
  points.push_back(most_moved_percent);
  return points;
}

std::string report_table(const DefragReport& report, bool color) {
  std::string text = fmt::format(
      "{}, mean of {}: what moving running pods would gain (a dry run; refused pods with GPUs are offered "
      "again)\n",
      report.workload, counted(report.runs.front().by_seed.size(), "seed"));
  for (const sim::DefragRuns& runs : report.runs) text += "\n" + policy_text(runs, report, color);
  return text;
}

std::string report_json(const std::vector<DefragReport>& reports) {
  net::JsonWriter w;
  w.object().array("workloads");
  for (const DefragReport& report : reports) {
    w.object().field("workload", report.workload).field("dry_run", true).array("policies");
    for (const sim::DefragRuns& runs : report.runs) {
      w.object().field("policy", runs.policy).array("mean");
      for (const double share : moved_points(report.most_moved_percent)) {
        w.object().field("may_move_percent", share).field("moved_percent", runs.moved(share));
        w.field("allocation_percent", runs.allocation(share)).end();
      }
      w.end().array("runs");
      for (const sim::DefragRun& run : runs.by_seed) {
        w.object().field("seed", run.seed).field("running", run.running).field("refused", run.refused);
        w.field("allocation_percent", run.allocation(0)).array("steps");
        for (const sim::DefragStep& step : run.steps) {
          w.object().field("moves", step.moves).field("placed", step.placed);
          w.field("allocation_percent",
                  100.0 * static_cast<double>(step.allocated_milli) / static_cast<double>(run.total_milli));
          w.end();
        }
        w.end().end();
      }
      w.end().end();
    }
    w.end().end();
  }
  w.end().end();
  return w.take();
}

}  // namespace tweendeck::simulate

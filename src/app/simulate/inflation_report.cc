#include "app/simulate/inflation_report.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "app/cli/terminal.h"
#include "base/text.h"
#include "net/json.h"

namespace tweendeck::simulate {

namespace {

constexpr size_t kWorstFirst = 80, kWorstLast = 130;  // where policies differ: before, everything fits
constexpr size_t kFragmentationPoints[] = {50, 80, 90};

std::string shown(double value, bool with_sign) {
  if (std::isnan(value)) return "-";
  return with_sign ? fmt::format("{:+.2f}", value) : fmt::format("{:.2f}", value);
}

std::string allocation_table(const InflationReport& report, bool color) {
  std::vector<std::string> header = {"ALLOCATED %"};
  for (size_t point : report.points) header.push_back(fmt::format("@{}", point));
  cli::Table table(header);
  for (size_t column = 1; column < header.size(); ++column) table.right_align(column);
  auto add = [&](const std::string& name, auto value, bool with_sign) {
    std::vector<std::string> cells = {name};
    for (size_t point : report.points) cells.push_back(shown(value(point), with_sign));
    table.row(std::move(cells));
  };
  for (const sim::PolicyRuns& policy : report.policies)
    add(policy.policy, [&](size_t point) { return policy.allocation(point); }, false);
  for (size_t at = 0; at < report.compare_from; ++at) {
    for (size_t with = report.compare_from; with < report.policies.size(); ++with) {
      const sim::PolicyRuns &policy = report.policies[at], &other = report.policies[with];
      add(
          fmt::format("{} - {}", policy.policy, other.policy),
          [&](size_t point) { return policy.allocation(point) - other.allocation(point); }, true);
    }
  }
  return table.render(color);
}

std::string worst_lines(const InflationReport& report) {
  std::string text;
  for (size_t at = 0; at < report.compare_from; ++at) {
    for (size_t with = report.compare_from; with < report.policies.size(); ++with) {
      Worst worst = worst_difference(report.policies[at], report.policies[with], kWorstFirst, kWorstLast);
      text += fmt::format("smallest difference of {} to {} at any percent from {} to {}: {:+.2f} @{}\n",
                          report.policies[at].policy, report.policies[with].policy, kWorstFirst, kWorstLast,
                          worst.points, worst.percent);
    }
  }
  return text;
}

struct Refused {
  double total = 0, feasible = 0;
  std::array<double, sim::kBars.size()> by_bar{};
};

Refused refused(const sim::PolicyRuns& policy) {
  Refused sum;
  const double runs = static_cast<double>(policy.runs.size());
  for (const sim::SeedRun& run : policy.runs) {
    sum.feasible += static_cast<double>(run.result.refused_feasible);
    sum.total += static_cast<double>(run.result.refused_feasible) / runs;
    for (size_t bar = 0; bar < sim::kBars.size(); ++bar) {
      sum.by_bar[bar] += static_cast<double>(run.result.refused[bar]) / runs;
      sum.total += static_cast<double>(run.result.refused[bar]) / runs;
    }
  }
  return sum;
}

std::string refused_table(const InflationReport& report, bool color) {
  std::vector<std::string> header = {"PODS REFUSED", "ALL"};
  for (sim::Bar bar : sim::kBars) header.push_back(fmt::format("NO {}", sim::to_string(bar)));
  header.push_back("THOUGH ROOM");
  for (size_t point : kFragmentationPoints) header.push_back(fmt::format("FRAGMENTED @{}", point));
  cli::Table table(header);
  for (size_t column = 1; column < header.size(); ++column) table.right_align(column);
  for (const sim::PolicyRuns& policy : report.policies) {
    Refused sum = refused(policy);
    std::vector<std::string> cells = {policy.policy, fmt::format("{:.0f}", sum.total)};
    for (double count : sum.by_bar) cells.push_back(fmt::format("{:.0f}", count));
    cells.push_back(fmt::format("{:.0f}", sum.feasible));
    for (size_t point : kFragmentationPoints) {
      double value = policy.fragmentation(point);
      cells.push_back(std::isnan(value) ? "-" : fmt::format("{:.1f} %", value));
    }
    table.row(std::move(cells));
  }
  return table.render(color);
}

// Of the GPUs that a queue asked for, in percent, what it holds at the end.
double held_percent(const sim::PolicyRuns& policy, size_t queue) {
  int64_t asked = 0, held = 0;
  for (const sim::SeedRun& run : policy.runs) {
    asked += run.result.queues[queue].asked_milli;
    held += run.result.queues[queue].held_milli;
  }
  return asked == 0 ? 100 : 100 * static_cast<double>(held) / static_cast<double>(asked);
}

std::string queue_table(const InflationReport& report, bool color) {
  if (report.queues.size() < 2) return "";
  std::vector<std::string> header = {"GPU HELD, % OF ASKED"};
  for (const std::string& queue : report.queues) header.push_back(queue);
  cli::Table table(header);
  for (size_t column = 1; column < header.size(); ++column) table.right_align(column);
  for (const sim::PolicyRuns& policy : report.policies) {
    std::vector<std::string> cells = {policy.policy};
    for (size_t queue = 0; queue < report.queues.size(); ++queue)
      cells.push_back(fmt::format("{:.1f}", held_percent(policy, queue)));
    table.row(std::move(cells));
  }
  return "\n" + table.render(color);
}

void write_curve(net::JsonWriter& w, std::string_view key, const sim::Curve& curve) {
  w.array(key);
  for (size_t percent = 0; percent < curve.size(); ++percent) {
    if (curve.has(percent))
      w.value(static_cast<double>(curve.hundredths(percent)) / 100);
    else
      w.null();
  }
  w.end();
}

void write_run(net::JsonWriter& w, const InflationReport& report, const sim::SeedRun& run) {
  w.object().field("seed", run.seed);
  write_curve(w, "allocation_percent", run.result.allocation);
  write_curve(w, "fragmentation_percent", run.result.fragmentation);
  w.object("refused");
  for (size_t bar = 0; bar < sim::kBars.size(); ++bar)
    w.field(sim::to_string(sim::kBars[bar]), run.result.refused[bar]);
  w.field("though_room", run.result.refused_feasible).end();
  w.array("queues");
  for (size_t at = 0; at < report.queues.size(); ++at) {
    const sim::QueueCount& queue = run.result.queues[at];
    w.object().field("queue", report.queues[at]).field("arrived", queue.arrived);
    w.field("refused", queue.refused);
    w.field("asked_gpus", static_cast<double>(queue.asked_milli) / 1000);
    w.field("held_gpus", static_cast<double>(queue.held_milli) / 1000).end();
  }
  w.end().end();
}

// Two digits are what the published figures have.
double to_hundredths(double value) {
  return std::round(value * 100) / 100;
}

}  // namespace

Worst worst_difference(const sim::PolicyRuns& policy, const sim::PolicyRuns& other, size_t first,
                       size_t last) {
  Worst worst{0, INFINITY};
  for (size_t percent = first; percent <= last; ++percent) {
    double difference = policy.allocation(percent) - other.allocation(percent);
    if (difference < worst.points) worst = {percent, difference};
  }
  return worst;
}

std::string report_table(const InflationReport& report, bool color) {
  std::string text = fmt::format("{}, mean of {}\n\n", report.workload,
                                 counted(report.policies.front().runs.size(), "seed"));
  text += allocation_table(report, color);
  text += worst_lines(report);
  text += "\n" + refused_table(report, color);
  text += queue_table(report, color);
  return text;
}

std::string report_json(const std::vector<InflationReport>& reports) {
  net::JsonWriter w;
  w.object().array("workloads");
  for (const InflationReport& report : reports) {
    w.object().field("workload", report.workload).array("policies");
    for (const sim::PolicyRuns& policy : report.policies) {
      w.object().field("policy", policy.policy);
      w.array("mean_allocation_percent");
      for (size_t percent = 0; percent < policy.percents(); ++percent)
        w.value(to_hundredths(policy.allocation(percent)));
      w.end().array("runs");
      for (const sim::SeedRun& run : policy.runs) write_run(w, report, run);
      w.end().end();
    }
    w.end().array("differences");
    for (size_t at = 0; at < report.compare_from; ++at) {
      for (size_t with = report.compare_from; with < report.policies.size(); ++with) {
        const sim::PolicyRuns &policy = report.policies[at], &other = report.policies[with];
        Worst worst = worst_difference(policy, other, kWorstFirst, kWorstLast);
        w.object().field("policy", policy.policy).field("to", other.policy);
        w.array("points");
        for (size_t percent = 0; percent < policy.percents(); ++percent)
          w.value(to_hundredths(policy.allocation(percent) - other.allocation(percent)));
        w.end().object("smallest").field("percent", static_cast<uint64_t>(worst.percent));
        w.field("points", to_hundredths(worst.points)).end().end();
      }
    }
    w.end().end();
  }
  w.end().end();
  return w.take();
}

}  // namespace tweendeck::simulate

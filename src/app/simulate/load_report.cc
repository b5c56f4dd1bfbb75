#include "app/simulate/load_report.h"

#include <fmt/format.h>

#include "app/cli/terminal.h"
#include "base/text.h"
#include "net/json.h"

namespace tweendeck::simulate {

namespace {

template <class Value>
double mean(const sim::LoadRuns& runs, Value value) {
  double sum = 0;
  for (const sim::TimelineResult& result : runs.by_seed) sum += static_cast<double>(value(result));
  return sum / static_cast<double>(runs.by_seed.size());
}

std::string load_of(const sim::LoadRuns& runs) {
  return runs.load_percent > 0 ? fmt::format("{:g} %", runs.load_percent) : "log";
}

std::string main_table(const LoadReport& report, bool color) {
  std::vector<std::string> header = {"LOAD",   "POLICY", "ALLOCATED",     "MEAN WAIT", "P99 WAIT",
                                     "WAITED", "STILL",  "LONGEST QUEUE", "LOST",      "THOUGH ROOM"};
  cli::Table table(header);
  for (size_t column = 2; column < header.size(); ++column) table.right_align(column);
  std::string last;
  for (const sim::LoadRuns& runs : report.runs) {
    const double arrived = mean(runs, [](const sim::TimelineResult& r) { return r.all.arrived; });
    const double waited = mean(runs, [](const sim::TimelineResult& r) { return r.all.waited; });
    const std::string load = load_of(runs);
    table.row(
        {load == last ? "" : load, runs.policy, fmt::format("{:.2f} %", runs.allocation_percent()),
         fmt::format("{:.1f} s", runs.mean_wait_s()),
         fmt::format("{:.0f} s", mean(runs, [](const sim::TimelineResult& r) { return r.wait_p99_s; })),
         arrived == 0 ? "-" : fmt::format("{:.2f} %", 100 * waited / arrived),
         fmt::format("{:.0f}", mean(runs, [](const sim::TimelineResult& r) { return r.all.still_waiting; })),
         fmt::format("{:.0f}", mean(runs, [](const sim::TimelineResult& r) { return r.longest_queue; })),
         fmt::format("{:.0f}", mean(runs, [](const sim::TimelineResult& r) { return r.lost; })),
         fmt::format("{:.0f}", mean(runs, [](const sim::TimelineResult& r) { return r.refused_feasible; }))});
    last = load;
  }
  return table.render(color);
}

// Why pods waited, in percent of the time waited, and what the queues got.
std::string reason_table(const LoadReport& report, bool color) {
  std::vector<std::string> header = {"LOAD", "WAITED FOR"};
  for (sim::Bar bar : sim::kBars) header.push_back(std::string(sim::to_string(bar)));
  for (const std::string& queue : report.queues) header.push_back(fmt::format("WAIT {}", queue));
  for (const std::string& queue : report.queues) header.push_back(fmt::format("GPU {}", queue));
  cli::Table table(header);
  for (size_t column = 2; column < header.size(); ++column) table.right_align(column);
  std::string last;
  for (const sim::LoadRuns& runs : report.runs) {
    const std::string load = load_of(runs);
    std::vector<std::string> cells = {load == last ? "" : load, runs.policy};
    double all = 0;
    for (size_t bar = 0; bar < sim::kBars.size(); ++bar)
      all += mean(runs, [&](const sim::TimelineResult& r) { return r.wait_s_by_bar[bar]; });
    for (size_t bar = 0; bar < sim::kBars.size(); ++bar) {
      double part = mean(runs, [&](const sim::TimelineResult& r) { return r.wait_s_by_bar[bar]; });
      cells.push_back(all == 0 ? "-" : fmt::format("{:.0f} %", 100 * part / all));
    }
    for (size_t queue = 0; queue < report.queues.size(); ++queue)
      cells.push_back(fmt::format("{:.1f} s", mean(runs, [&](const sim::TimelineResult& r) {
                                    return r.queues[queue].mean_wait_s();
                                  })));
    const double held = mean(runs, [](const sim::TimelineResult& r) { return r.all.held_gpu_s; });
    for (size_t queue = 0; queue < report.queues.size(); ++queue) {
      double part = mean(runs, [&](const sim::TimelineResult& r) { return r.queues[queue].held_gpu_s; });
      cells.push_back(held == 0 ? "-" : fmt::format("{:.1f} %", 100 * part / held));
    }
    table.row(std::move(cells));
    last = load;
  }
  return table.render(color);
}

void write_count(net::JsonWriter& w, const sim::WaitCount& count) {
  w.field("arrived", count.arrived).field("waited", count.waited).field("still_waiting", count.still_waiting);
  w.field("mean_wait_s", count.mean_wait_s()).field("held_gpu_hours", count.held_gpu_s / 3600);
}

void write_result(net::JsonWriter& w, const LoadReport& report, const sim::TimelineResult& result) {
  w.object();
  write_count(w, result.all);
  w.field("allocation_percent", result.allocation_percent).field("wait_p99_s", result.wait_p99_s);
  w.field("longest_queue", result.longest_queue).field("waited_at_start", result.waited_at_start);
  w.field("lost", result.lost).field("refused_though_room", result.refused_feasible);
  w.object("wait_s_by_reason");
  for (size_t bar = 0; bar < sim::kBars.size(); ++bar)
    w.field(sim::to_string(sim::kBars[bar]), result.wait_s_by_bar[bar]);
  w.end().array("queues");
  for (size_t queue = 0; queue < report.queues.size(); ++queue) {
    w.object().field("queue", report.queues[queue]);
    write_count(w, result.queues[queue]);
    w.end();
  }
  w.end().end();
}

}  // namespace

std::string report_table(const LoadReport& report, bool color) {
  std::string text = fmt::format("{}, mean of {}\n\n", report.workload, counted(report.seeds, "seed"));
  return text + main_table(report, color) + "\n" + reason_table(report, color);
}

std::string report_json(const std::vector<LoadReport>& reports) {
  net::JsonWriter w;
  w.object().array("workloads");
  for (const LoadReport& report : reports) {
    w.object().field("workload", report.workload).array("results");
    for (const sim::LoadRuns& runs : report.runs) {
      w.object().field("policy", runs.policy);
      w.name("load_percent");
      if (runs.load_percent > 0)
        w.value(runs.load_percent);
      else
        w.null();
      w.field("mean_wait_s", runs.mean_wait_s()).field("allocation_percent", runs.allocation_percent());
      w.array("runs");
      for (const sim::TimelineResult& result : runs.by_seed) write_result(w, report, result);
      w.end().end();
    }
    w.end().end();
  }
  w.end().end();
  return w.take();
}

}  // namespace tweendeck::simulate

#include "app/simulate/plots.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <filesystem>

namespace tweendeck::simulate {

namespace {

constexpr int kDefragPoints = 100;
constexpr double kPlotFrom = 70, kPlotTo = 130;  // arrived percent: before, everything fits

// The samples of one run stand at equal distances from 0 to 100 % of its time.
Chart allocation_over_time(const LoadReport& report) {
  Chart chart{.title = fmt::format("{}: event log", report.workload),
              .x_label = "time, % of the log",
              .y_label = "GPUs allocated, %",
              .series = {},
              .x_from = 0,
              .x_to = 100};
  for (const sim::LoadRuns& runs : report.runs) {
    Series series{runs.policy, {}};
    const std::vector<double>& samples = runs.by_seed.front().samples;
    for (size_t at = 0; at < samples.size(); ++at)
      series.points.emplace_back(100 * static_cast<double>(at) / static_cast<double>(samples.size()),
                                 samples[at]);
    chart.series.push_back(std::move(series));
  }
  return chart;
}

}  // namespace

Chart plot_of(const InflationReport& report) {
  Chart chart{.title = fmt::format("{}: allocation", report.workload),
              .x_label = "GPUs that arrived, % of the cluster",
              .y_label = "GPUs allocated, %",
              .series = {},
              .x_from = kPlotFrom,
              .x_to = kPlotTo};
  for (const sim::PolicyRuns& policy : report.policies) {
    Series series{policy.policy, {}};
    for (size_t percent = 0; percent < policy.percents(); ++percent)
      series.points.emplace_back(static_cast<double>(percent), policy.allocation(percent));
    chart.series.push_back(std::move(series));
  }
  return chart;
}

Chart plot_of(const LoadReport& report) {
  if (report.runs.front().load_percent == 0) return allocation_over_time(report);
  Chart chart{.title = fmt::format("{}: mean waiting time", report.workload),
              .x_label = "offered load, % of the cluster's GPUs",
              .y_label = "mean wait, s",
              .series = {},
              .x_from = report.runs.front().load_percent,
              .x_to = report.runs.front().load_percent};
  for (const sim::LoadRuns& runs : report.runs) {
    auto series = std::ranges::find(chart.series, runs.policy, &Series::name);
    if (series == chart.series.end()) series = chart.series.insert(series, {runs.policy, {}});
    series->points.emplace_back(runs.load_percent, runs.mean_wait_s());
    chart.x_from = std::min(chart.x_from, runs.load_percent);
    chart.x_to = std::max(chart.x_to, runs.load_percent);
  }
  for (Series& series : chart.series) std::ranges::sort(series.points);
  if (chart.x_to == chart.x_from) chart.x_to += 1;
  return chart;
}

Chart plot_of(const DefragReport& report) {
  Chart chart{.title = fmt::format("{}: what moving pods gains", report.workload),
              .x_label = "running pods moved, %",
              .y_label = "GPUs allocated, %",
              .series = {},
              .x_from = 0,
              .x_to = report.most_moved_percent};
  for (const sim::DefragRuns& runs : report.runs) {
    Series series{runs.policy, {}};
    for (int point = 0; point <= kDefragPoints; ++point) {
      const double share = report.most_moved_percent * point / kDefragPoints;
      series.points.emplace_back(share, runs.allocation(share));
    }
    chart.series.push_back(std::move(series));
  }
  return chart;
}

Status write_plot(const Context& context, const std::string& workload, bool several, const Chart& chart) {
  if (!context.in.is_set("svg")) return {};
  std::filesystem::path path = context.in.text("svg");
  if (several)
    path.replace_filename(fmt::format("{}-{}{}", path.stem().string(), workload, path.extension().string()));
  const std::string text = render_svg(chart);
  std::FILE* file = std::fopen(path.c_str(), "wb");
  if (file == nullptr) return fail(system_error(errno, "cannot write " + path.string()));
  const bool written = std::fwrite(text.data(), 1, text.size(), file) == text.size();
  const bool closed = std::fclose(file) == 0;
  if (!written || !closed) return fail(system_error(errno, "cannot write " + path.string()));
  context.output.note("drawn: " + path.string());
  return {};
}

}  // namespace tweendeck::simulate

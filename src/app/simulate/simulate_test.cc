#include <gmock/gmock.h>

#include "app/simulate/inflation_report.h"
#include "app/simulate/svg_chart.h"
#include "net/json.h"

namespace tweendeck::simulate {
namespace {

using ::testing::HasSubstr;

sim::PolicyRuns runs_of(const std::string& policy, std::vector<int64_t> allocated_at_100) {
  sim::PolicyRuns runs{policy, {}};
  for (int64_t milli : allocated_at_100) {
    sim::SeedRun run;
    run.seed = static_cast<uint32_t>(runs.runs.size());
    run.result.allocation.add(1000, 1000, milli, 1000);
    run.result.allocation.add(800, 1000, 800, 1000);
    run.result.queues.resize(1);
    runs.runs.push_back(run);
  }
  return runs;
}

InflationReport two_policies() {
  return {"w", {runs_of("a", {950, 960}), runs_of("b", {940, 945})}, {"LS"}, 1, {80, 100, 110}};
}

TEST(InflationReport, DifferencesStandBelowTheMeans) {
  std::string text = report_table(two_policies(), false);
  EXPECT_THAT(text, HasSubstr("mean of 2 seeds"));
  EXPECT_THAT(text, ::testing::ContainsRegex("a +80.00 +95.50 +-"));
  EXPECT_THAT(text, ::testing::ContainsRegex("a - b +\\+0.00 +\\+1.25 +-"));
}

TEST(InflationReport, TheSmallestDifferenceIsFound) {
  InflationReport report = two_policies();
  Worst worst = worst_difference(report.policies[0], report.policies[1], 80, 130);
  EXPECT_EQ(worst.percent, 80);
  EXPECT_DOUBLE_EQ(worst.points, 0);
  worst = worst_difference(report.policies[1], report.policies[0], 80, 130);
  EXPECT_EQ(worst.percent, 100);
  EXPECT_DOUBLE_EQ(worst.points, -1.25);
}

TEST(InflationReport, JsonHasEverySeed) {
  auto json = net::parse_json(report_json({two_policies()}));
  ASSERT_TRUE(json);
  const net::JsonValue& workload = (*json)["workloads"].items()[0];
  EXPECT_EQ(workload["policies"].items()[0]["runs"].items().size(), 2);
  EXPECT_EQ(workload["policies"].items()[0]["mean_allocation_percent"].items()[100].number_or(0), 95.5);
  EXPECT_EQ(workload["differences"].items()[0]["smallest"]["percent"].integer_or(0), 80);
}

TEST(SvgChart, DrawsEachSeriesAndEscapesNames) {
  Chart chart{.title = "a < b & c", .x_label = "x", .y_label = "y", .series = {}, .x_from = 0, .x_to = 10};
  chart.series.push_back({"one", {{0, 1}, {5, 2}, {10, 3}, {11, 99}}});
  chart.series.push_back({"two", {{0, 1}, {10, 3}}});
  chart.series.push_back({"none", {}});
  std::string svg = render_svg(chart);
  EXPECT_THAT(svg, HasSubstr("a &lt; b &amp; c"));
  size_t lines = 0;
  for (size_t at = svg.find("<polyline"); at != std::string::npos; at = svg.find("<polyline", at + 1))
    ++lines;
  EXPECT_EQ(lines, 3);
  EXPECT_EQ(svg.find("99"), std::string::npos) << "a point outside of the axis is left out";
  EXPECT_THAT(svg, HasSubstr("</svg>"));
}

}  // namespace
}  // namespace tweendeck::simulate

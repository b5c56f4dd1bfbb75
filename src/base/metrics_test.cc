#include "base/metrics.h"

#include <gtest/gtest.h>

#include <string>

namespace tweendeck {
namespace {

TEST(Metrics, ExposesEveryKindInPrometheusText) {
  Registry registry;
  registry.counter("tw_requests_total", "Requests.", {{"code", "200"}}).add(3);
  registry.gauge("tw_up", "Is up.").set(1);
  Histogram& seconds = registry.histogram("tw_wait_seconds", "Waiting.", {0.1, 1});
  seconds.observe(0.1);  // a bound belongs to its own bucket
  seconds.observe(5);
  EXPECT_EQ(registry.expose(),
            "# HELP tw_requests_total Requests.\n# TYPE tw_requests_total counter\n"
            "tw_requests_total{code=\"200\"} 3\n"
            "# HELP tw_up Is up.\n# TYPE tw_up gauge\ntw_up 1\n"
            "# HELP tw_wait_seconds Waiting.\n# TYPE tw_wait_seconds histogram\n"
            "tw_wait_seconds_bucket{le=\"0.1\"} 1\ntw_wait_seconds_bucket{le=\"1\"} 1\n"
            "tw_wait_seconds_bucket{le=\"+Inf\"} 2\ntw_wait_seconds_sum 5.1\ntw_wait_seconds_count 2\n");
}

TEST(Metrics, ASampledCounterOnlyGrows) {
  Registry registry;
  SampledCounter& seconds = registry.sampled_counter("tw_used_seconds_total", "Used.", {{"slice", "a"}});
  seconds.raise_to(1.5);
  seconds.raise_to(0.5);
  EXPECT_EQ(registry.expose(),
            "# HELP tw_used_seconds_total Used.\n# TYPE tw_used_seconds_total counter\n"
            "tw_used_seconds_total{slice=\"a\"} 1.5\n");
  registry.remove("slice", "a");
  EXPECT_EQ(registry.expose(), "");
}

TEST(Metrics, LookingUpTwiceGivesTheSameSeries) {
  Registry registry;
  registry.counter("a_total", "A.", {{"x", "1"}}).add();
  registry.counter("a_total", "A.", {{"x", "1"}}).add();
  EXPECT_EQ(registry.counter("a_total", "A.", {{"x", "1"}}).value(), 2u);
}

TEST(Metrics, LabelValuesAreEscaped) {
  Registry registry;
  registry.gauge("g", "G.", {{"x", "a\"b\\c\nd"}}).set(1);
  EXPECT_NE(registry.expose().find(R"(g{x="a\"b\\c\nd"} 1)"), std::string::npos);
}

TEST(Metrics, SeriesPerFamilyAreBounded) {
  Registry registry;
  for (size_t i = 0; i < Registry::kMaxSeriesPerFamily + 50; ++i) {
    registry.counter("c_total", "C.", {{"i", std::to_string(i)}}).add();
  }
  EXPECT_NE(registry.expose().find("c_total{overflow=\"true\"} 50\n"), std::string::npos);
}

TEST(Metrics, RemoveForgetsTheSeriesOfAReplica) {
  Registry registry;
  registry.gauge("g", "G.", {{"replica", "a-1"}}).set(1);
  registry.gauge("g", "G.", {{"replica", "a-10"}}).set(1);
  registry.remove("replica", "a-1");
  std::string text = registry.expose();
  EXPECT_EQ(text.find("\"a-1\""), std::string::npos);
  EXPECT_NE(text.find("\"a-10\""), std::string::npos);
}

}  // namespace
}  // namespace tweendeck

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <set>

#include "app/bench/prompt.h"
#include "app/bench/report.h"
#include "app/bench/stats.h"
#include "app/bench/trace.h"
#include "app/bench/workload.h"
#include "net/json.h"

namespace tweendeck::bench {
namespace {

using testing::HasSubstr;

TEST(Percentile, IsTheNearestRank) {
  EXPECT_EQ(percentile({}, 50), 0);
  EXPECT_EQ(percentile({7}, 1), 7);
  EXPECT_EQ(percentile({7}, 100), 7);
  std::vector<double> hundred;
  for (int i = 1; i <= 100; ++i) hundred.push_back(i);
  EXPECT_EQ(percentile(hundred, 50), 50);
  EXPECT_EQ(percentile(hundred, 99), 99);
  EXPECT_EQ(percentile(hundred, 99.1), 100);
  EXPECT_EQ(percentile(hundred, 0), 1);
}

TEST(Percentile, AgreesWithItsDefinitionOnRandomSamples) {
  Random random(3);
  for (int round = 0; round < 200; ++round) {
    std::vector<double> samples;
    for (uint64_t i = 0, n = 1 + random.below(40); i < n; ++i)
      samples.push_back(static_cast<double>(random.below(20)));
    Percentiles p = percentiles(samples);
    for (auto [share, value] : {std::pair(0.5, p.p50), std::pair(0.9, p.p90), std::pair(0.99, p.p99)}) {
      double at_most = 0, below = 0;
      for (double sample : samples) {
        at_most += sample <= value;
        below += sample < value;
      }
      double n = static_cast<double>(samples.size());
      EXPECT_GE(at_most / n, share);
      EXPECT_LT(below / n, share) << "a smaller sample would do";
    }
  }
}

TEST(Summary, CountsFollowUpsFailuresAndShares) {
  Outcome first{.model = "m",
                .replica = "m-1",
                .ok = true,
                .sent = 0,
                .first_token = 100 * kMillisecond,
                .last_token = 300 * kMillisecond,
                .ended = 310 * kMillisecond,
                .prompt_tokens = 100,
                .cached_tokens = 0,
                .output_tokens = 5};
  Outcome second = first;
  second.turn = 1;
  second.replica = "m-2";
  second.prompt_tokens = 120;
  second.cached_tokens = 90;
  second.history_tokens = 105;
  Outcome failed{.model = "m", .ok = false, .reason = Reason::QueueFull, .message = "full", .ended = kSecond};
  Summary s = summarize({first, second, failed});
  EXPECT_EQ(s.ok, 2);
  EXPECT_EQ(s.failed, 1);
  EXPECT_EQ(s.failures.at("QueueFull"), 1);
  EXPECT_DOUBLE_EQ(s.duration_s, 1);
  EXPECT_DOUBLE_EQ(s.ttft_ms.p50, 100);
  EXPECT_DOUBLE_EQ(s.tpot_ms.p50, 50);
  EXPECT_DOUBLE_EQ(s.e2e_ms.p50, 310);
  EXPECT_EQ(s.followup_ttft_ms.count, 1);
  EXPECT_EQ(s.recomputed_prompt_tokens, 15) << "of the 105 tokens that were computed before";
  EXPECT_EQ(s.by_replica.at("m-2").cached_tokens, 90);
}

TEST(Report, TableAndJsonTellTheSame) {
  Outcome one{.model = "sim-8b",
              .replica = "sim-8b-1",
              .ok = true,
              .first_token = kMillisecond,
              .last_token = 3 * kMillisecond,
              .ended = 3 * kMillisecond,
              .prompt_tokens = 10,
              .cached_tokens = 5,
              .output_tokens = 3};
  Summary summary = summarize({one});
  ReportHead head{.mode = "closed loop", .models = {"sim-8b"}, .simulated = true};
  std::string table = report_table(head, summary, false);
  for (const char* word :
       {"ttft", "tpot", "e2e", "P50", "P99", "prefix hits 5 (50 %)", "sim-8b-1", "simulated"}) {
    EXPECT_THAT(table, HasSubstr(word));
  }
  auto json = net::parse_json(report_json(head, summary));
  ASSERT_TRUE(json);
  EXPECT_EQ((*json)["ok"].integer_or(0), 1);
  EXPECT_DOUBLE_EQ((*json)["ttft_ms"]["p50"].number_or(0), 1);
  EXPECT_EQ((*json)["replicas"].items()[0]["name"].text_or(""), "sim-8b-1");
}

TEST(Trace, ReadsOneLine) {
  auto request = parse_trace_line(
      R"({"timestamp": 27482, "input_length": 1025, "output_length": 52, "hash_ids": [46, 47, 2353]})");
  ASSERT_TRUE(request) << request.error().message;
  EXPECT_EQ(request->at, 27482 * kMillisecond);
  EXPECT_EQ(request->input_tokens, 1025);
  EXPECT_EQ(request->output_tokens, 52);
  EXPECT_EQ(request->hash_ids, (std::vector<uint64_t>{46, 47, 2353}));
}

TEST(Trace, RefusesWhatIsWrongAndNamesIt) {
  for (auto [line, word] :
       {std::pair("", "JSON"), std::pair("[]", "timestamp"),
        std::pair(R"({"timestamp":-1,"input_length":1,"output_length":1,"hash_ids":[1]})", "timestamp"),
        std::pair(R"({"timestamp":1,"input_length":0,"output_length":1,"hash_ids":[]})", "input_length"),
        std::pair(R"({"timestamp":1,"input_length":1.5,"output_length":1,"hash_ids":[1]})", "input_length"),
        std::pair(R"({"timestamp":1,"input_length":1,"hash_ids":[1]})", "output_length"),
        std::pair(R"({"timestamp":1,"input_length":513,"output_length":1,"hash_ids":[1]})", "hash_ids"),
        std::pair(R"({"timestamp":1,"input_length":1,"output_length":1,"hash_ids":["a"]})", "hash_ids"),
        std::pair(R"({"timestamp":1,"input_length":99999999,"output_length":1,"hash_ids":[1]})",
                  "input_length")}) {
    auto request = parse_trace_line(line);
    ASSERT_FALSE(request) << line;
    EXPECT_EQ(request.error().reason, Reason::InvalidArgument);
    EXPECT_THAT(request.error().message + request.error().hint, HasSubstr(word)) << line;
  }
}

TEST(Trace, ThePublicTraceIsReadWhole) {
  const char* data = std::getenv("TWEENDECK_DATA");
  std::string path =
      std::string(data != nullptr ? data : "../shared/data") + "/llm/mooncake_conversation_trace.jsonl";
  if (!std::filesystem::exists(path))
    GTEST_SKIP() << "TWEENDECK_DATA has no llm/mooncake_conversation_trace.jsonl";
  auto trace = load_trace(path, 0);
  ASSERT_TRUE(trace) << trace.error().message;
  EXPECT_EQ(trace->size(), 12031);
  EXPECT_EQ(trace->back().at, 3'536'999 * kMillisecond);
  EXPECT_EQ(load_trace(path, 7)->size(), 7);
}

TEST(Trace, AMissingFileIsNamed) {
  auto missing = load_trace("/nonexistent/trace.jsonl", 0);
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().reason, Reason::NotFound);
  EXPECT_THAT(missing.error().message, HasSubstr("/nonexistent/trace.jsonl"));
}

TEST(Prompt, EqualIdsGiveEqualTextAndOthersDifferAtOnce) {
  EXPECT_EQ(block_text(46, 512), block_text(46, 512));
  EXPECT_EQ(block_text(46, 512).size(), 2048);
  std::set<std::string> starts;
  for (uint64_t id = 0; id < 20'000; ++id) starts.insert(block_text(id, 5));
  EXPECT_EQ(starts.size(), 20'000);
  EXPECT_NE(block_text(1, 1), block_text(2, 1));
}

TEST(Prompt, ACommonHeadOfIdsIsACommonHeadOfText) {
  std::string a = prompt_text({{1, 2, 3}, 512, 1100});
  std::string b = prompt_text({{1, 2, 4}, 512, 1536});
  EXPECT_EQ(a.size(), 1100 * 4);
  EXPECT_EQ(a.substr(0, 4096), b.substr(0, 4096));
  EXPECT_NE(a.substr(4096, 20), b.substr(4096, 20));
}

TEST(Workload, OpenLoopArrivesAtItsRate) {
  auto plan = synthetic_workload({.models = {"a", "b"}, .requests = 4000, .rate_per_s = 50, .seed = 9});
  ASSERT_EQ(plan.size(), 4000);
  double duration_s = static_cast<double>(plan.back().at) / 1e9;
  EXPECT_NEAR(4000 / duration_s, 50, 2.5);
  for (size_t i = 1; i < plan.size(); ++i) EXPECT_LE(plan[i - 1].at, plan[i].at);
  EXPECT_EQ(plan[0].model, "a");
  EXPECT_EQ(plan[1].model, "b");
}

TEST(Workload, OnlyGroupsSharePrefixes) {
  auto alone = synthetic_workload({.models = {"m"}, .requests = 50});
  std::set<uint64_t> ids;
  for (const auto& request : alone) ids.insert(request.prompt.blocks.begin(), request.prompt.blocks.end());
  EXPECT_EQ(ids.size(), 50 * 16);
  auto grouped =
      synthetic_workload({.models = {"m"}, .requests = 50, .prefix_groups = 2, .prefix_percent = 50});
  std::set<uint64_t> heads;
  for (const auto& request : grouped) heads.insert(request.prompt.blocks[7]);
  EXPECT_EQ(heads.size(), 2);
}

TEST(Workload, TraceKeepsArrivalsLengthsAndFamilies) {
  std::vector<TraceRequest> trace = {{1000 * kMillisecond, 1100, 50, {0, 7, 8}},
                                     {3000 * kMillisecond, 1536, 0, {0, 7, 9}}};
  auto plan = trace_workload(
      trace, {.models = {"a", "b", "c"}, .speed = 2, .max_input_tokens = 1024, .max_output_tokens = 10});
  EXPECT_EQ(plan[0].at, 500 * kMillisecond);
  EXPECT_EQ(plan[0].prompt.tokens, 1024);
  EXPECT_EQ(plan[0].prompt.blocks.size(), 2);
  EXPECT_EQ(plan[0].output_tokens, 10);
  EXPECT_EQ(plan[1].output_tokens, 1) << "an engine cannot answer with nothing";
  EXPECT_EQ(plan[0].model, plan[1].model) << "the same second block, so the same family";
}

}  // namespace
}  // namespace tweendeck::bench

#include "app/bench/families.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <map>
#include <string>

#include "app/bench/workload.h"

namespace tweendeck::bench {
namespace {

// A prompt of full blocks, and a last one that is not full.
TraceRequest asks(std::vector<uint64_t> blocks, uint64_t partial) {
  TraceRequest request;
  request.input_tokens = static_cast<uint32_t>(blocks.size()) * kTraceBlockTokens + 100;
  request.output_tokens = 10;
  request.hash_ids = std::move(blocks);
  request.hash_ids.push_back(partial);
  return request;
}

std::string models_of(const std::vector<TraceRequest>& trace) {
  std::string models;
  for (const PlannedRequest& request : trace_workload(trace, {.models = {"A", "B"}})) models += request.model;
  return models;
}

TEST(Families, ACommonBeginningIsNotAFamily) {
  // Four conversations that all begin with the blocks 0 and 1, two turns each.
  std::vector<TraceRequest> trace;
  for (uint64_t conversation : {10, 20, 30, 40})
    trace.push_back(asks({0, 1, conversation}, conversation + 1));
  for (uint64_t conversation : {10, 20, 30, 40})
    trace.push_back(asks({0, 1, conversation, conversation + 5}, conversation + 6));
  EXPECT_EQ(models_of(trace), "ABABABAB") << "they take turns, and each stays with its model";
}

TEST(Families, ALargeGroupIsDividedAndASmallConversationKeepsItsForks) {
  std::vector<TraceRequest> trace;
  for (uint64_t i = 0; i < 8; ++i) trace.push_back(asks({0, 1, 100 + i}, 900));  // one agent's many tasks
  trace.push_back(asks({0, 2, 50, 51}, 901));
  trace.push_back(asks({0, 2, 50, 52}, 902));  // the same conversation, taken up again from an earlier turn
  std::vector<size_t> families = families_of(trace, 2);
  EXPECT_NE(families[0], families[1]);
  EXPECT_EQ(families[8], families[9]);
  EXPECT_EQ(models_of(trace), "ABABABABAA");
}

TEST(Families, ThePublicTracesAreSharedOutEvenly) {
  const char* data = std::getenv("TWEENDECK_DATA");
  const std::string folder = std::string(data != nullptr ? data : "../shared/data") + "/llm/";
  for (const char* name : {"mooncake_conversation_trace.jsonl", "mooncake_synthetic_trace.jsonl"}) {
    if (!std::filesystem::exists(folder + name)) GTEST_SKIP() << "TWEENDECK_DATA has no llm/" << name;
    auto trace = load_trace(folder + name, 2000);
    ASSERT_TRUE(trace) << trace.error().message;
    std::map<std::string, size_t> requests;
    for (const PlannedRequest& each : trace_workload(*trace, {.models = {"a", "b", "c"}}))
      ++requests[each.model];
    for (const auto& [model, count] : requests) {
      EXPECT_GT(count, trace->size() / 4) << name << " " << model;
      EXPECT_LT(count, trace->size() / 2) << name << " " << model;
    }
  }
}

}  // namespace
}  // namespace tweendeck::bench

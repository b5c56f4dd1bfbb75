#include "app/client/chat_stream.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "net/json.h"

namespace tweendeck::client {
namespace {

using testing::ElementsAre;

std::vector<std::string> events_of(const std::vector<std::string>& pieces) {
  SseReader reader;
  std::vector<std::string> out;
  for (const std::string& piece : pieces) {
    reader.feed(piece, [&](std::string_view data) { out.emplace_back(data); });
  }
  return out;
}

TEST(Sse, DoesNotDependOnHowBytesWereSplit) {
  std::string stream = ": comment\r\n\r\ndata: {\"a\":1}\r\n\r\nevent: x\ndata:two\n\ndata: [DONE]\n\n";
  std::vector<std::string> whole = events_of({stream});
  EXPECT_THAT(whole, ElementsAre("{\"a\":1}", "two", "[DONE]"));
  for (size_t cut = 0; cut <= stream.size(); ++cut) {
    EXPECT_EQ(events_of({stream.substr(0, cut), stream.substr(cut)}), whole) << cut;
  }
  std::vector<std::string> single;
  for (char c : stream) single.emplace_back(1, c);
  EXPECT_EQ(events_of(single), whole);
}

TEST(Sse, ALineWithoutEndIsBounded) {
  SseReader reader;
  std::string chunk(1 << 20, 'x');
  bool open = true;
  for (int i = 0; i < 6 && open; ++i) open = reader.feed(chunk, [](std::string_view) {});
  EXPECT_FALSE(open);
}

TEST(ChatEvent, ReadsTextFinishAndUsage) {
  auto piece = read_chat_event(R"({"choices":[{"delta":{"content":"Par"},"finish_reason":null}]})");
  EXPECT_EQ(piece.text, "Par");
  EXPECT_TRUE(piece.finish_reason.empty());
  auto last = read_chat_event(
      R"({"choices":[],"usage":{"prompt_tokens":41,"completion_tokens":7,"prompt_tokens_details":{"cached_tokens":40}}})");
  EXPECT_TRUE(last.has_usage);
  EXPECT_EQ(last.usage.prompt_tokens, 41);
  EXPECT_EQ(last.usage.cached_tokens, 40);
  EXPECT_EQ(last.usage.output_tokens, 7);
  EXPECT_TRUE(read_chat_event("[DONE]").done);
  EXPECT_FALSE(read_chat_event("{").error.empty());
  EXPECT_EQ(read_chat_event(R"({"error":{"message":"out of cake"}})").error, "out of cake");
}

TEST(ChatBody, IsWhatTheServerNeeds) {
  auto body = net::parse_json(
      chat_body({.model = "m", .messages = {{"user", "say \"hi\"\n"}}, .max_tokens = 5, .ignore_eos = true}));
  ASSERT_TRUE(body);
  EXPECT_EQ((*body)["messages"].items()[0]["content"].text_or(""), "say \"hi\"\n");
  EXPECT_EQ((*body)["max_tokens"].integer_or(0), 5);
  EXPECT_TRUE((*body)["stream"].bool_or(false));
  EXPECT_TRUE((*body)["stream_options"]["include_usage"].bool_or(false));
  EXPECT_FALSE((*body).has("temperature"));
}

TEST(ChatError, PrefersTheGatewaysReason) {
  Error error = chat_error(429, R"({"error":{"message":"queue is full","type":"x","code":"QueueFull"}})");
  EXPECT_EQ(error.reason, Reason::QueueFull);
  EXPECT_EQ(error.message, "queue is full");
  Error unknown = chat_error(
      404, R"({"error":{"message":"no x; served here: a","code":"UnknownModel","hint":"served here: a"}})");
  EXPECT_EQ(unknown.message, "no x") << "a person reads the hint once";
  EXPECT_EQ(unknown.hint, "served here: a");
  EXPECT_EQ(chat_error(502, "<html>").reason, Reason::UpstreamFailed);
  EXPECT_EQ(chat_error(400, R"({"error":{"message":"bad","code":400}})").message, "bad");
}

}  // namespace
}  // namespace tweendeck::client

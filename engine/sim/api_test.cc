#include "engine/sim/api.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "engine/sim/settings.h"

namespace tweendeck::sim {
namespace {

using testing::HasSubstr;

TEST(ParseChat, ReadsWhatMatters) {
  const auto r = parse_chat(R"({"model":"m","messages":[{"role":"system","content":"abcd"},
      {"role":"user","content":[{"type":"text","text":"efgh"},{"type":"text","text":"ij"}]}],
      "max_tokens":7,"stream":true,"stream_options":{"include_usage":true},"ignore_eos":true,"stop":["x","y"]})");
  ASSERT_TRUE(r) << r.error().message;
  EXPECT_EQ(r->model, "m");
  EXPECT_EQ(r->max_tokens, 7u);
  EXPECT_TRUE(r->stream && r->include_usage && r->ignore_eos && r->chat);
  EXPECT_THAT(r->stops, testing::ElementsAre("x", "y"));
  EXPECT_EQ(r->prompt.size(), 1u + 3 + 4 + 1);
}

TEST(ParseChat, AFollowUpBeginsWithTheTurnBefore) {
  const auto first = parse_chat(R"({"model":"m","messages":[{"role":"user","content":"hello"}]})");
  const uint64_t hash = hash_tokens(first->prompt);
  const auto second = parse_chat(
      R"({"model":"m","messages":[{"role":"user","content":"hello"},{"role":"assistant","content":")" +
      answer_text(hash, 0, 9) + R"("},{"role":"user","content":"more"}]})");
  ASSERT_TRUE(second);
  std::vector<Token> expected = first->prompt;
  for (uint32_t i = 0; i < 9; ++i) expected.push_back(answer_token(hash, i));
  ASSERT_GT(second->prompt.size(), expected.size());
  EXPECT_TRUE(std::equal(expected.begin(), expected.end(), second->prompt.begin()));
}

TEST(ParseChat, RefusesWithTheFieldThatIsWrong) {
  struct Case {
    const char* body;
    const char* param;
  };
  for (const Case& c : {
           Case{"", ""},
           Case{"[1]", ""},
           Case{R"({"model":"m")", ""},
           Case{R"({"messages":[{"role":"user","content":"x"}]})", "model"},
           Case{R"({"model":7,"messages":[{"role":"user","content":"x"}]})", "model"},
           Case{R"({"model":"m"})", "messages"},
           Case{R"({"model":"m","messages":[]})", "messages"},
           Case{R"({"model":"m","messages":["x"]})", "messages"},
           Case{R"({"model":"m","messages":[{"role":"king","content":"x"}]})", "messages"},
           Case{R"({"model":"m","messages":[{"role":"user","content":[{"type":"image_url"}]}]})", "messages"},
           Case{R"({"model":"m","messages":[{"role":"user","content":"x"}],"max_tokens":0})", "max_tokens"},
           Case{R"({"model":"m","messages":[{"role":"user","content":"x"}],"max_tokens":-1})", "max_tokens"},
           Case{R"({"model":"m","messages":[{"role":"user","content":"x"}],"max_tokens":"9"})", "max_tokens"},
           Case{R"({"model":"m","messages":[{"role":"user","content":"x"}],"n":2})", "n"},
           Case{R"({"model":"m","messages":[{"role":"user","content":"x"}],"stream":"yes"})", "stream"},
           Case{R"({"model":"m","messages":[{"role":"user","content":"x"}],"stop":[1]})", "stop"},
           Case{R"({"model":"m","messages":[{"role":"user","content":"x"}],"stream_options":1})",
                "stream_options"},
       }) {
    const auto r = parse_chat(c.body);
    ASSERT_FALSE(r) << c.body;
    EXPECT_EQ(r.error().status, 400);
    EXPECT_EQ(r.error().param, c.param) << c.body;
    EXPECT_FALSE(r.error().message.empty());
  }
}

TEST(ParseCompletion, TakesTextTokensAndAListOfOne) {
  EXPECT_EQ(parse_completion(R"({"model":"m","prompt":"abcdefgh"})")->prompt.size(), 3u);
  EXPECT_EQ(parse_completion(R"({"model":"m","prompt":["abcdefgh"]})")->prompt.size(), 3u);
  EXPECT_EQ(parse_completion(R"({"model":"m","prompt":[1,2,3]})")->prompt.size(), 4u);
  EXPECT_EQ(parse_completion(R"({"model":"m","prompt":["a","b"]})").error().param, "prompt");
  EXPECT_EQ(parse_completion(R"({"model":"m","prompt":[1,-2]})").error().param, "prompt");
  EXPECT_EQ(parse_completion(R"({"model":"m"})").error().param, "prompt");
}

TEST(ParseEmbed, TakesOneOrMany) {
  EXPECT_EQ(parse_embed(R"({"model":"m","input":"abcdefgh"})")->inputs.size(), 1u);
  const auto many =
      parse_embed(R"({"model":"m","input":["a","bcdef"],"encoding_format":"base64","dimensions":8})");
  ASSERT_TRUE(many);
  EXPECT_EQ(many->inputs.at(1).size(), 2u);
  EXPECT_TRUE(many->base64);
  EXPECT_EQ(parse_embed(R"({"model":"m","input":""})").error().param, "input");
  EXPECT_EQ(parse_embed(R"({"model":"m","input":[]})").error().param, "input");
  EXPECT_EQ(parse_embed(R"({"model":"m","input":"x","dimensions":100000})").error().param, "dimensions");
}

TEST(Foresee, EndsByItselfAtTheLimitOrAtAStopString) {
  Generate r;
  EXPECT_EQ(foresee(r, 5, 1'000'000).tokens, natural_length(5));
  EXPECT_TRUE(foresee(r, 5, 1'000'000).stopped);
  EXPECT_EQ(foresee(r, 5, 10).tokens, 10u);
  EXPECT_FALSE(foresee(r, 5, 10).stopped);
  r.ignore_eos = true;
  EXPECT_EQ(foresee(r, 5, 1000).tokens, 1000u);
  const std::string text = answer_text(5, 0, 1000);
  r.stops = {"nowhere", text.substr(30, 10)};
  const Outcome cut = foresee(r, 5, 1000);
  EXPECT_EQ(cut.text_bytes, text.find(text.substr(30, 10)));
  EXPECT_EQ(cut.tokens, (cut.text_bytes + 10 + 3) / 4);
  EXPECT_TRUE(cut.stopped);
}

TEST(Render, SaysThatItIsSimulated) {
  const AnswerHead head{"cmpl-1", "m", 1, false};
  for (const std::string& body : {render_answer(head, "x", true, {}), event_text(head, "x"),
                                  render_models("m", {"a"}, 1, 8), render_embeddings({}, 0)}) {
    EXPECT_THAT(body, HasSubstr("(simulated)"));
  }
}

TEST(Render, Base64IsLittleEndianFloats) {
  Embed request;
  request.model = "m";
  request.inputs = {{1}};
  request.dimensions = 1;
  request.base64 = true;  // a unit vector of one dimension is 1 or -1
  EXPECT_THAT(render_embeddings(request, 1),
              testing::AnyOf(HasSubstr("\"AACAPw==\""), HasSubstr("\"AACAvw==\"")));
}

TEST(Settings, OptionsAndEngineArguments) {
  const auto s = parse_settings(
      {"--model", "sim-3b", "--model-name", "chat", "--port", "9000", "max_batch=8", "lora=a", "lora=b"});
  ASSERT_TRUE(s) << s.error().message;
  EXPECT_EQ(s->model.name, "sim-3b");
  EXPECT_EQ(s->max_in_flight, 8u);
  EXPECT_THAT(s->adapters, testing::ElementsAre("a", "b"));
  for (const std::vector<std::string>& wrong :
       std::vector<std::vector<std::string>>{{},
                                             {"--model"},
                                             {"--model", "gpt"},
                                             {"--model", "sim-8b"},
                                             {"--model", "sim-8b", "--port", "70000"},
                                             {"--model", "sim-8b", "--port", "1", "max_batch=0"},
                                             {"--model", "sim-8b", "--port", "1", "slots=1"},
                                             {"--what", "1"}}) {
    EXPECT_FALSE(parse_settings(wrong));
  }
}

}  // namespace
}  // namespace tweendeck::sim

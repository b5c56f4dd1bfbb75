#include "routing/tokenizer/splitter.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace tweendeck::routing::tokenizer {
namespace {

using testing::ElementsAre;

constexpr std::string_view kLlama3 =
    R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)";
constexpr std::string_view kO200k =
    R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)";

std::vector<std::string> words(const std::vector<SplitStage>& stages, std::string_view text) {
  std::vector<std::string> out;
  split(stages.data(), stages.data() + stages.size(), text.data(), text.data() + text.size(),
        [&](const char* from, const char* end) { out.emplace_back(from, end); });
  return out;
}
std::vector<std::string> words(std::string_view regex, std::string_view text) {
  return words({known_pattern(regex).value().stage}, text);
}

TEST(Splitter, Gpt2) {
  const std::vector<SplitStage> gpt2 = {byte_level_stage()};
  EXPECT_THAT(words(gpt2, "I'll see 12345 cats,  ok?"),
              ElementsAre("I", "'ll", " see", " 12345", " cats", ",", " ", " ok", "?"));
  EXPECT_THAT(words(gpt2, "I'LL  \n\n x \t"), ElementsAre("I", "'", "LL", "  \n\n", " x", " \t"));
  EXPECT_TRUE(words(gpt2, "").empty());
}

TEST(Splitter, Llama3) {
  EXPECT_THAT(words(kLlama3, "I'LL see 12345\tcats,\r\n  ok"),
              ElementsAre("I", "'LL", " see", " ", "123", "45", "\tcats", ",\r\n", " ", " ok"));
  EXPECT_THAT(words(kLlama3, "a  \n \n  b"), ElementsAre("a", "  \n \n", " ", " b"));
  EXPECT_THAT(words(kLlama3, "a   "), ElementsAre("a", "   "));
  EXPECT_THAT(words(kLlama3, "(foo)\u3000\u4E2D\u6587\u3002"),
              ElementsAre("(foo", ")", "\u3000\u4E2D\u6587", "\u3002"));
  EXPECT_THAT(words(kLlama3, "x'\u017Fy"), ElementsAre("x", "'\u017F", "y"));
}

TEST(Splitter, O200kFollowsCase) {
  EXPECT_THAT(words(kO200k, "helloWorld HTTPServer don't ABC"),
              ElementsAre("hello", "World", " HTTPServer", " don't", " ABC"));
  // A letter without case ends a word that upper case ones follow; a mark can begin one.
  EXPECT_THAT(words(kO200k, "\u4E2DAB"), ElementsAre("\u4E2D", "AB"));
  EXPECT_THAT(words(kO200k, "\u0301AB"), ElementsAre("\u0301", "AB"));
  EXPECT_THAT(words(kO200k, "a//\n/b"), ElementsAre("a", "//\n/", "b"));
}

TEST(Splitter, DeepSeekSplitsThriceAndKeepsWhatNothingMatches) {
  const std::vector<SplitStage> stages = {
      known_pattern(R"(\p{N}{1,3})").value().stage, known_pattern("[一-龥\u3040-ゟ゠-ヿ]+").value().stage,
      known_pattern(
          "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| "
          "?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+")
          .value()
          .stage};
  EXPECT_THAT(words(stages, "ab1234 \u4E2D\u6587x .foo"),
              ElementsAre("ab", "123", "4", " ", "\u4E2D\u6587", "x", " .", "foo"));
  EXPECT_THAT(words(stages, "\x01\x02\x01!"), ElementsAre("\x01\x02\x01", "!"));
}

TEST(Splitter, UnknownPatternsAreNotGuessed) {
  EXPECT_FALSE(known_pattern(R"(\p{N}{1,4})"));
  EXPECT_FALSE(known_pattern(""));
}

}  // namespace
}  // namespace tweendeck::routing::tokenizer

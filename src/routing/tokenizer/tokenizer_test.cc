#include "routing/tokenizer/tokenizer.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <random>

#include "routing/tokenizer/tokenizer_testing.h"

namespace tweendeck::routing::tokenizer {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

constexpr std::string_view kMark = "\xE2\x96\x81";

std::shared_ptr<const Tokenizer> load(const SmallTokenizer& small) {
  auto loaded = load_tokenizer(small.json());
  EXPECT_TRUE(loaded) << to_string(loaded.error());
  return loaded ? *loaded : nullptr;
}

Error refused(const SmallTokenizer& small) {
  auto loaded = load_tokenizer(small.json());
  EXPECT_FALSE(loaded);
  return loaded ? Error{} : loaded.error();
}

// The texts of the tokens of `text`, which say more than ids.
std::vector<std::string> tokens(const SmallTokenizer& small, std::string_view text,
                                EncodeOptions options = {}) {
  auto tokenizer = load(small);
  Encoder encoder(tokenizer);
  std::vector<uint32_t> ids;
  encoder.encode(text, options, ids);
  std::vector<std::string> out;
  for (const uint32_t id : ids) out.emplace_back(tokenizer->text_of(id));
  return out;
}

TEST(Tokenizer, JoinsByRankThenFromTheLeft) {
  const SmallTokenizer small{.merges = {{"a", "b"}, {"b", "c"}, {"ab", "ab"}, {"a", "a"}}};
  EXPECT_THAT(tokens(small, "abc"), ElementsAre("ab", "c"));
  EXPECT_THAT(tokens(small, "bcab"), ElementsAre("bc", "ab"));
  EXPECT_THAT(tokens(small, "aaa"), ElementsAre("aa", "a"));
  EXPECT_THAT(tokens(small, "ababab"), ElementsAre("abab", "ab"));
}

TEST(Tokenizer, WordsAreEncodedApart) {
  const SmallTokenizer small{.merges = {{"o", " "}, {" ", "w"}}};
  // "o " would be joined first, but a word takes its space from the left.
  EXPECT_THAT(tokens(small, "o w"), ElementsAre("o", " w"));
}

TEST(Tokenizer, WholeWordWithIgnoreMerges) {
  SmallTokenizer small{.merges = {{"a", "b"}, {"b", "c"}, {"a", "bc"}}};
  EXPECT_THAT(tokens(small, "abc"), ElementsAre("ab", "c"));
  small.model_extra = R"(, "ignore_merges": true)";
  EXPECT_THAT(tokens(small, "abc"), ElementsAre("abc"));
}

TEST(Tokenizer, BytesThatAreNotUtf8CountAsReplacementCharacters) {
  const SmallTokenizer small;
  const std::vector<std::string> replacement = {"\xEF", "\xBF", "\xBD"};
  EXPECT_EQ(tokens(small, "\xFF"), replacement);
  EXPECT_EQ(tokens(small, "\xE2\x82"), replacement);  // one cut character is one replacement
  EXPECT_EQ(repaired_utf8("\xED\xA0\x80 \xF0\x9F\x98 \xC0\xAF"), "\uFFFD\uFFFD\uFFFD \uFFFD \uFFFD\uFFFD");
}

TEST(Tokenizer, AddedTokensAreLongestFirst) {
  SmallTokenizer small;
  small.added = R"({"id": 256, "content": "<a>"}, {"id": 257, "content": "<a>b"}, )"
                R"({"id": 258, "content": "<c>", "lstrip": true, "rstrip": true})";
  auto tokenizer = load(small);
  Encoder encoder(tokenizer);
  std::vector<uint32_t> ids;
  encoder.encode("<a<a><a>b \n<c>\t x", {}, ids);
  EXPECT_THAT(ids, ElementsAre('<', 'a', 256, 257, 258, 'x'));
}

TEST(Tokenizer, TokensBeforeAndAfterOnlyWhenAsked) {
  SmallTokenizer small;
  small.added =
      R"({"id": 256, "content": "<s>", "special": true}, {"id": 257, "content": "</s>", "special": true})";
  small.post_processor =
      R"({"type": "TemplateProcessing", "single": [{"SpecialToken": {"id": "<s>"}}, {"Sequence": {"id": "A"}},
          {"SpecialToken": {"id": "</s>"}}], "special_tokens": {"<s>": {"ids": [256]}, "</s>": {"ids": [257]}}})";
  EXPECT_THAT(tokens(small, "x"), ElementsAre("x"));
  EXPECT_THAT(tokens(small, "x", {.special = true}), ElementsAre("<s>", "x", "</s>"));
}

TEST(Tokenizer, NormalizesToFormC) {
  SmallTokenizer small{.merges = {{"\xC3", "\xA9"}}};
  small.normalizer = R"({"type": "NFC"})";
  EXPECT_THAT(tokens(small, "e\u0301"), ElementsAre("\u00E9"));
  EXPECT_EQ(to_nfc("a\u0323\u0307 \u0061\u0307\u0323"), to_nfc("a\u0307\u0323 \u0061\u0323\u0307"));
  EXPECT_EQ(to_nfc("\u1100\u1161\u11A8 \u212B \u0344"), "\uAC01 \u00C5 \u0308\u0301");
  EXPECT_TRUE(is_surely_nfc("plain, \u00E9 and \u4E2D"));
  EXPECT_FALSE(is_surely_nfc("e\u0301"));
}

TEST(Tokenizer, SentencePieceStyle) {
  SmallTokenizer small{.merges = {{std::string(kMark), "a"}, {"a", "b"}, {std::string(kMark) + "a", "b"}},
                       .characters = {std::string(kMark), "a", "b"}};
  small.pre_tokenizer = "null";
  small.normalizer = R"({"type": "Sequence", "normalizers": [{"type": "Prepend", "prepend": "▁"},
                         {"type": "Replace", "pattern": {"String": " "}, "content": "▁"}]})";
  EXPECT_THAT(tokens(small, "ab a"), ElementsAre("▁ab", "▁a"));
  EXPECT_THAT(tokens(small, "c\n"), ElementsAre("▁", "<0x63>", "<0x0A>"));
  EXPECT_TRUE(tokens(small, "").empty());
}

TEST(Tokenizer, MetaspaceSchemes) {
  SmallTokenizer small{.merges = {{std::string(kMark), "a"}}, .characters = {std::string(kMark), "a"}};
  small.added = R"({"id": 260, "content": "<s>"})";
  const auto with = [&](std::string_view scheme) {
    small.pre_tokenizer = fmt::format(
        R"({{"type": "Metaspace", "replacement": "▁", "prepend_scheme": "{}", "split": false}})", scheme);
    return tokens(small, "a<s>a a");
  };
  EXPECT_THAT(with("never"), ElementsAre("a", "<s>", "a", "▁a"));
  EXPECT_THAT(with("first"), ElementsAre("▁a", "<s>", "a", "▁a"));
  EXPECT_THAT(with("always"), ElementsAre("▁a", "<s>", "▁a", "▁a"));
}

TEST(Tokenizer, RefusesWhatItDoesNotKnowByName) {
  SmallTokenizer small;
  small.pre_tokenizer = R"({"type": "Split", "pattern": {"Regex": "\\p{Han}+"}, "behavior": "Isolated"})";
  EXPECT_EQ(refused(small).reason, Reason::TokenizerUnsupported);
  EXPECT_THAT(refused(small).message, HasSubstr("Han"));
  small = {.normalizer = R"({"type": "NFKC"})"};
  EXPECT_THAT(refused(small).message, HasSubstr("NFKC"));
  small = {.pre_tokenizer = R"({"type": "BertPreTokenizer"})"};
  EXPECT_THAT(refused(small).message, HasSubstr("BertPreTokenizer"));
  small = {.post_processor = R"({"type": "BertProcessing"})"};
  EXPECT_THAT(refused(small).message, HasSubstr("BertProcessing"));
  small = {};
  small.model_extra = R"(, "dropout": 0.1)";
  EXPECT_THAT(refused(small).message, HasSubstr("dropout"));
  small = {};
  small.added = R"({"id": 300, "content": "<s>"})";
  EXPECT_THAT(refused(small).message, HasSubstr("numbered 256"));
  EXPECT_EQ(load_tokenizer(R"({"model": {"type": "Unigram", "vocab": []}})").error().reason,
            Reason::TokenizerUnsupported);
}

TEST(Tokenizer, DamagedFiles) {
  EXPECT_EQ(load_tokenizer("").error().reason, Reason::TokenizerInvalid);
  EXPECT_EQ(load_tokenizer("[]").error().reason, Reason::TokenizerInvalid);
  EXPECT_EQ(load_tokenizer("{}").error().reason, Reason::TokenizerInvalid);
  const std::string head = R"({"model": {"type": "BPE", "vocab": )";
  EXPECT_EQ(load_tokenizer(head + R"({"a": 0, "b": 0}, "merges": []}})").error().reason,
            Reason::TokenizerInvalid);
  EXPECT_EQ(load_tokenizer(head + R"({"a": 0}, "merges": ["a b"]}})").error().reason,
            Reason::TokenizerInvalid);
  EXPECT_EQ(load_tokenizer(head + R"({"a": 0}, "merges": ["aa"]}})").error().reason,
            Reason::TokenizerInvalid);
  EXPECT_EQ(load_tokenizer(head + R"({"a": -1}, "merges": []}})").error().reason, Reason::TokenizerInvalid);
  EXPECT_EQ(load_tokenizer(head + R"({"a": 4294967296}, "merges": []}})").error().reason,
            Reason::TokenizerInvalid);
}

// The definition of byte pair encoding, written down as it is: again and again the lowest rank, leftmost.
std::vector<uint32_t> by_definition(const Bpe& bpe, std::vector<uint32_t> symbols) {
  for (;;) {
    Merge best;
    size_t where = 0;
    for (size_t at = 0; at + 1 < symbols.size(); ++at) {
      const Merge merge = bpe.merge_of(symbols[at], symbols[at + 1]);
      if (merge.rank < best.rank) {
        best = merge;
        where = at;
      }
    }
    if (best.rank == kNoId) return symbols;
    symbols[where] = best.id;
    symbols.erase(symbols.begin() + static_cast<ptrdiff_t>(where) + 1);
  }
}

// Merges of random tokens that exist by then, so that long ones arise.
SmallTokenizer random_tokenizer(std::mt19937& random, std::vector<std::string> alphabet, bool bytes) {
  SmallTokenizer small;
  if (!bytes) small.characters = alphabet;
  std::vector<std::string> known = alphabet;
  for (int count = 0; count < 24; ++count) {
    const std::string left = known[random() % known.size()], right = known[random() % known.size()];
    small.merges.emplace_back(left, right);
    if (std::find(known.begin(), known.end(), left + right) == known.end()) known.push_back(left + right);
  }
  return small;
}

TEST(TokenizerProperty, WordsOfAnyLengthAreJoinedByTheDefinition) {
  std::mt19937 random(1);
  for (int round = 0; round < 40; ++round) {
    SmallTokenizer small = random_tokenizer(random, {"a", "b", "c"}, true);
    small.pre_tokenizer = R"({"type": "ByteLevel", "add_prefix_space": false, "use_regex": false})";
    auto tokenizer = load(small);
    ASSERT_TRUE(tokenizer);
    Encoder encoder(tokenizer);
    for (int word = 0; word < 60; ++word) {
      std::string text;
      for (size_t left = random() % 70; left > 0; --left) text += static_cast<char>('a' + random() % 3);
      std::vector<uint32_t> ids, symbols;
      encoder.encode(text, {}, ids);
      for (const char c : text) symbols.push_back(tokenizer->bpe.byte_id(static_cast<unsigned char>(c)));
      EXPECT_EQ(ids, by_definition(tokenizer->bpe, symbols)) << text;
    }
  }
}

TEST(TokenizerProperty, CuttingWhereNothingJoinsChangesNothing) {
  std::mt19937 random(2);
  const std::vector<std::string> alphabet = {"a", "b", "中", "é", std::string(kMark)};
  for (int round = 0; round < 60; ++round) {
    SmallTokenizer small = random_tokenizer(random, alphabet, false);
    small.pre_tokenizer = "null";
    auto tokenizer = load(small);
    ASSERT_TRUE(tokenizer);
    Encoder encoder(tokenizer);
    for (int word = 0; word < 40; ++word) {
      std::vector<uint32_t> ids, symbols;
      std::string text;
      for (size_t left = random() % 60; left > 0; --left) {
        text += alphabet[random() % alphabet.size()];
        symbols.push_back(tokenizer->bpe.vocabulary.find(std::string_view(text).substr(
            static_cast<size_t>(before(text.data() + text.size()) - text.data()))));
      }
      encoder.encode(text, {}, ids);
      EXPECT_EQ(ids, by_definition(tokenizer->bpe, symbols)) << text;
    }
  }
}

}  // namespace
}  // namespace tweendeck::routing::tokenizer

#include "routing/tokenizer/part_cache.h"

#include <gtest/gtest.h>

#include <random>

#include "routing/tokenizer/tokenizer_testing.h"

namespace tweendeck::routing::tokenizer {
namespace {

constexpr size_t kBudget = 1 << 20;

std::shared_ptr<const Tokenizer> chat_tokenizer(std::string pre_tokenizer) {
  SmallTokenizer small{.merges = {{"t", "h"}, {"th", "e"}, {" ", "the"}, {"a", "a"}}};
  small.added = R"({"id": 260, "content": "<|end|>"}, {"id": 261, "content": "<|start|>", "lstrip": true})";
  small.pre_tokenizer = std::move(pre_tokenizer);
  return load_tokenizer(small.json()).value();
}
std::shared_ptr<const Tokenizer> chat_tokenizer() {
  return chat_tokenizer(R"({"type": "ByteLevel", "add_prefix_space": true, "use_regex": true})");
}

std::string words(std::mt19937& random, size_t count) {
  constexpr std::string_view kWords[] = {"the ", "aaa ", "<|", "\n", "th\u00E9 ", "\xFF", "42 "};
  std::string text;
  for (; count > 0; --count) text += kWords[random() % std::size(kWords)];
  return text;
}

TEST(PartCache, ATurnCostsItsTail) {
  Encoder encoder(chat_tokenizer());
  PartCache cache(kBudget, 7);
  std::string conversation;
  for (int turn = 0; turn < 8; ++turn) {
    const std::string tail = "<|start|>" + std::string(1000, 'a') + std::to_string(turn) + "<|end|>";
    conversation += tail;
    const uint64_t before = cache.encoded_bytes();
    std::vector<uint32_t> ids, plain;
    cache.encode(encoder, conversation, {}, ids);
    encoder.encode(conversation, {}, plain);
    EXPECT_EQ(ids, plain);
    EXPECT_LE(cache.encoded_bytes() - before, tail.size() + 16 * static_cast<size_t>(turn));
  }
}

TEST(PartCache, NeverChangesIdsAndKeepsItsBudget) {
  std::mt19937 random(3);
  for (const size_t budget : {size_t{0}, size_t{2000}, kBudget}) {
    Encoder encoder(chat_tokenizer()), plain_encoder(chat_tokenizer());
    PartCache cache(budget, 9);
    std::vector<std::string> turns;
    for (int round = 0; round < 200; ++round) {
      if (turns.empty() || random() % 8 == 0) turns.assign(1, words(random, random() % 200));
      turns.push_back((random() % 2 == 0 ? "<|end|>" : " <|start|>") + words(random, random() % 120));
      std::string text;
      for (const std::string& turn : turns) text += turn;
      if (random() % 2 == 0) text = repaired_utf8(text);
      std::vector<uint32_t> ids, plain;
      cache.encode(encoder, text, {}, ids);
      plain_encoder.encode(text, {}, plain);
      ASSERT_EQ(ids, plain);
      EXPECT_LE(cache.used_bytes(), budget);
    }
    EXPECT_EQ(cache.found_bytes() > 0, budget > 0);
  }
}

}  // namespace
}  // namespace tweendeck::routing::tokenizer

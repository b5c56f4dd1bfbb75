#include "app/bench/prompt.h"

#include <algorithm>
#include <array>
#include <string_view>

#include "base/clock.h"

namespace tweendeck::bench {
namespace {

// Common words of three letters: a power of two of them, so that ids are told apart by whole words.
constexpr std::array<std::string_view, 64> kWords = {
    "the", "and", "for", "are", "but", "not", "you", "all", "can", "her", "was", "one", "our",
    "out", "day", "get", "has", "him", "his", "how", "man", "new", "now", "old", "see", "two",
    "way", "who", "boy", "did", "its", "let", "put", "say", "she", "too", "use", "big", "end",
    "far", "few", "got", "own", "run", "set", "six", "ten", "top", "air", "car", "cat", "dog",
    "eye", "job", "law", "map", "oil", "red", "sea", "sun", "tax", "war", "win", "yes"};
constexpr uint32_t kBitsPerWord = 6;
constexpr uint32_t kIdWords = 5;  // 30 bits: more than any trace has blocks

}  // namespace

std::string block_text(uint64_t id, uint32_t tokens) {
  std::string text;
  text.reserve(tokens * 4);
  Random random(id + 1);
  for (uint32_t i = 0; i < tokens; ++i) {
    // The id itself first, most significant word last, so that two blocks differ at once; then noise.
    uint64_t index = i < kIdWords ? id >> (i * kBitsPerWord) : random.next();
    text += kWords[index % kWords.size()];
    text += ' ';
  }
  return text;
}

std::string prompt_text(const PromptSpec& spec) {
  std::string text;
  uint32_t left = spec.tokens;
  for (uint64_t id : spec.blocks) {
    uint32_t tokens = std::min(left, spec.block_tokens);
    text += block_text(id, tokens);
    left -= tokens;
  }
  return text;
}

}  // namespace tweendeck::bench

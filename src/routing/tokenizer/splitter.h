// Pre-tokenization: cutting text into words, each of which is then encoded by itself.
//
// The patterns of tokenizer.json are regular expressions; the common ones are recognised by their exact text and have
// matchers written by hand (a few bytes per nanosecond, no backtracking). An unknown pattern is refused by the loader.
// Text is valid UTF-8. Immutable; safe from any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "routing/tokenizer/unicode.h"

namespace tweendeck::routing::tokenizer {

// What the alternatives of a pattern are; see the table in splitter.cc.
struct WordRules {
  enum class Contractions : uint8_t { None, Exact, AnyCase, Suffix };
  enum class Words : uint8_t { Spaced, Prefixed, Cased, Punctuated };
  Contractions contractions = Contractions::None;
  Words words = Words::Spaced;
  Classes letters = kAnyLetter;  // what a word is made of
  Classes not_other = 0;         // what, besides \s, the run of "other" characters excludes; 0: only P and S
  uint32_t most_digits = 0;  // in a row; 0 = any number, with a space before; UINT32_MAX = none of its own
  std::string_view other_tail{};  // characters that a run of "other" takes at its end
  bool newlines = true;           // \s*[\r\n]+
};

struct SplitStage {
  enum class Kind : uint8_t { Words, Numbers, Chinese, MarkedSpaces };
  Kind kind = Kind::Words;
  WordRules rules{};         // Words
  uint32_t most_digits = 1;  // Numbers: \p{N}{1,n}; 0 = \p{N}+
};

// The stage that a pattern means; nothing for unknown patterns. `gapless`: every character is in some match.
struct KnownPattern {
  SplitStage stage;
  bool gapless = true;
};
std::optional<KnownPattern> known_pattern(std::string_view regex);
// The pattern of a ByteLevel pre-tokenizer with use_regex (GPT-2's).
SplitStage byte_level_stage();

// Ends of the pieces that a stage cuts [from, end) into: the end of the piece that begins at `from`.
const char* next_word(const WordRules& rules, const char* from, const char* end);
const char* next_piece(const SplitStage& stage, const char* from, const char* end);

// Calls `word(begin, end)` for each word of `text`, in order.
template <class Word>
void split(const SplitStage* stage, const SplitStage* last, const char* from, const char* end, Word&& word) {
  if (stage == last) {
    if (from != end) word(from, end);
    return;
  }
  while (from != end) {
    const char* to = stage->kind == SplitStage::Kind::Words ? next_word(stage->rules, from, end)
                                                            : next_piece(*stage, from, end);
    if (stage + 1 == last) {
      word(from, to);
    } else {
      split(stage + 1, last, from, to, word);
    }
    from = to;
  }
}

}  // namespace tweendeck::routing::tokenizer

#include "routing/tokenizer/splitter.h"

#include <algorithm>

namespace tweendeck::routing::tokenizer {
namespace {

using Contractions = WordRules::Contractions;
using Words = WordRules::Words;

constexpr uint32_t kNoDigits = UINT32_MAX;
constexpr Classes kLettersAndMarks = kAnyLetter | kMark;
constexpr Classes kFirstCase = kUpper | kLetter | kMark;   // [\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]
constexpr Classes kSecondCase = kLower | kLetter | kMark;  // [\p{Ll}\p{Lm}\p{Lo}\p{M}]

struct Known {
  std::string_view regex;
  KnownPattern pattern;
};

constexpr KnownPattern words(Contractions contractions, Words kind, Classes letters, Classes not_other,
                             uint32_t digits, std::string_view tail) {
  return {{SplitStage::Kind::Words,
           {contractions, kind, letters, not_other, digits, tail, kind != Words::Spaced},
           0},
          kind != Words::Punctuated};
}
constexpr KnownPattern numbers(uint32_t most) {
  return {{SplitStage::Kind::Numbers, {}, most}, false};
}

constexpr Classes kOther = kAnyLetter | kNumber;
constexpr KnownPattern kGpt2 = words(Contractions::Exact, Words::Spaced, kAnyLetter, kOther, 0, "");
constexpr KnownPattern kLlama3 = words(Contractions::AnyCase, Words::Prefixed, kAnyLetter, kOther, 3, "\r\n");
constexpr KnownPattern kQwen2 = words(Contractions::AnyCase, Words::Prefixed, kAnyLetter, kOther, 1, "\r\n");
constexpr KnownPattern kO200k = words(Contractions::Suffix, Words::Cased, kAnyLetter, kOther, 3, "\r\n/");

constexpr Known kPatterns[] = {
    // GPT-2, and the models that spell its pattern out.
    {R"('s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)", kGpt2},
    {R"('(?:[sdmt]|ll|ve|re)| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+)", kGpt2},
    // Llama 3, GLM 4 and others: cl100k. Qwen has single digits; its newer models let marks be letters.
    {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     kLlama3},
    {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     kQwen2},
    {R"((?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?[\p{L}\p{M}]+|\p{N}| ?[^\s\p{L}\p{M}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     words(Contractions::AnyCase, Words::Prefixed, kLettersAndMarks, kLettersAndMarks | kNumber, 1, "\r\n")},
    // gpt-oss, GPT-4o, Llama 4: o200k; Mistral's Tekken is it without contractions and with single digits.
    {R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+(?i:'s|'t|'re|'ve|'m|'ll|'d)?|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*(?i:'s|'t|'re|'ve|'m|'ll|'d)?|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     kO200k},
    {R"([^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]*[\p{Ll}\p{Lm}\p{Lo}\p{M}]+|[^\r\n\p{L}\p{N}]?[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]+[\p{Ll}\p{Lm}\p{Lo}\p{M}]*|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+)",
     words(Contractions::None, Words::Cased, kAnyLetter, kOther, 1, "\r\n/")},
    // DeepSeek V3 and R1: three patterns, one after the other.
    {R"(\p{N}{1,3})", numbers(3)},
    {R"(\p{N})", numbers(1)},
    {R"(\p{N}+)", numbers(0)},
    {"[一-龥\u3040-ゟ゠-ヿ]+", {{SplitStage::Kind::Chinese, {}, 0}, false}},
    {"[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\r\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+| "
     "?[\\p{P}\\p{S}]+[\r\n]*|\\s*[\r\n]+|\\s+(?!\\S)|\\s+",
     words(Contractions::None, Words::Punctuated, kLettersAndMarks, 0, kNoDigits, "\r\n")},
};

bool is_newline(char c) {
  return c == '\n' || c == '\r';
}
bool is_ascii_letter(char c) {
  return static_cast<unsigned char>((c | 0x20) - 'a') < 26;
}

// Matches from one position to the end of the text. Characters are looked at by class; ASCII without decoding.
class Matcher {
 public:
  Matcher(const WordRules& rules, const char* end) : rules_(rules), table_(class_table()), end_(end) {}

  Classes at(const char* from, uint32_t& length) const {
    const auto lead = static_cast<unsigned char>(*from);
    if (lead < 0x80) {
      length = 1;
      return table_[lead];
    }
    const Decoded next = decode(from);
    length = next.length;
    return table_[next.point];
  }

  const char* run(const char* from, Classes classes) const {
    for (uint32_t length = 0; from != end_ && (at(from, length) & classes) != 0;) from += length;
    return from;
  }

  // What "other" means: neither white space nor the excluded classes; with none excluded, punctuation and symbols.
  bool is_other(Classes classes) const {
    return rules_.not_other != 0 ? (classes & (rules_.not_other | kSpace)) == 0
                                 : (classes & (kPunctuation | kSymbol)) != 0;
  }

  // ('s|'t|'re|'ve|'m|'ll|'d), or nullptr. Without case, s also matches U+017F, its long form.
  const char* contraction(const char* from, bool any_case) const {
    if (end_ - from < 2 || *from != '\'') return nullptr;
    const auto lower = [any_case](char c) {
      return any_case && c >= 'A' && c <= 'Z' ? static_cast<char>(c | 0x20) : c;
    };
    const char first = lower(from[1]);
    if (first == 's' || first == 't' || first == 'm' || first == 'd') return from + 2;
    if (end_ - from < 3) return nullptr;
    const char second = lower(from[2]);
    if ((second == 'e' && (first == 'r' || first == 'v')) || (second == 'l' && first == 'l')) return from + 3;
    if (any_case && from[1] == '\xC5' && from[2] == '\xBF') return from + 3;
    return nullptr;
  }

  const char* digits(const char* from, uint32_t most) const {
    uint32_t length = 0;
    for (uint32_t count = 0; from != end_ && count < most && (at(from, length) & kNumber) != 0; ++count)
      from += length;
    return from;
  }

  // [other]+ and the tail's characters after it; `from` is at one of them.
  const char* other_run(const char* from) const {
    for (uint32_t length = 0; from != end_ && is_other(at(from, length));) from += length;
    while (from != end_ && rules_.other_tail.find(*from) != std::string_view::npos) ++from;
    return from;
  }

  // \s*[\r\n]+ | \s+(?!\S) | \s+, at white space: up to the last line end of the run, else all but the run's last
  // character if text follows, else all.
  const char* space_run(const char* from) const {
    const char* stop = run(from, kSpace);
    if (rules_.newlines) {
      for (const char* last = stop; last != from; --last) {
        if (is_newline(last[-1])) return last;
      }
    }
    if (stop == end_) return stop;
    const char* last = before(stop);
    return last == from ? stop : last;
  }

  // The two cased alternatives of o200k, without the contraction; `from` is behind the optional first character.
  // Null when they do not match.
  const char* cased(const char* from) const {
    const char* first = run(from, kFirstCase);
    const char* second = run(first, kSecondCase);
    if (second != first) return second;
    // The first alternative gives characters back until one can be of its second part.
    uint32_t length = 0;
    for (const char* last = first; last != from;) {
      const char* start = before(last);
      if ((at(start, length) & kSecondCase) != 0) return last;
      last = start;
    }
    return nullptr;
  }

  const char* cased_word(const char* from, Classes classes, uint32_t length) const {
    const bool prefixable = (classes & (kAnyLetter | kNumber)) == 0 && !is_newline(*from);
    const char* found = nullptr;
    if (prefixable) found = cased(from + length);
    if (found == nullptr) found = cased(from);
    if (found == nullptr) {
      const char* start = prefixable ? from + length : from;
      found = run(start, kFirstCase);
      if (found == start) return nullptr;
    }
    if (rules_.contractions != Contractions::Suffix) return found;
    const char* suffix = contraction(found, true);
    return suffix != nullptr ? suffix : found;
  }

  const char* prefixed_word(const char* from, Classes classes, uint32_t length) const {
    if ((classes & rules_.letters) != 0) return run(from + length, rules_.letters);
    const Classes no_prefix =
        rules_.words == Words::Punctuated ? (kAnyLetter | kPunctuation | kSymbol) : (kAnyLetter | kNumber);
    if ((classes & no_prefix) != 0 || is_newline(*from)) return nullptr;
    const char* stop = run(from + length, rules_.letters);
    return stop != from + length ? stop : nullptr;
  }

  const char* spaced(const char* from) const {
    const char* start = *from == ' ' && from + 1 != end_ ? from + 1 : from;
    uint32_t length = 0;
    const Classes classes = at(start, length);
    if ((classes & kAnyLetter) != 0) return run(start + length, kAnyLetter);
    if ((classes & kNumber) != 0) return run(start + length, kNumber);
    return (classes & kSpace) != 0 ? space_run(from) : other_run(start);
  }

  // The end of the match at `from`, or nullptr.
  const char* match(const char* from) const {
    if (rules_.contractions == Contractions::Exact || rules_.contractions == Contractions::AnyCase) {
      const char* short_form = contraction(from, rules_.contractions == Contractions::AnyCase);
      if (short_form != nullptr) return short_form;
    }
    if (rules_.words == Words::Spaced) return spaced(from);
    uint32_t length = 0;
    const Classes classes = at(from, length);
    if (rules_.words == Words::Punctuated && length == 1 && (classes & (kPunctuation | kSymbol)) != 0 &&
        from + 1 != end_ && is_ascii_letter(from[1])) {
      const char* stop = from + 2;
      while (stop != end_ && is_ascii_letter(*stop)) ++stop;
      return stop;
    }
    const char* word = rules_.words == Words::Cased ? cased_word(from, classes, length)
                                                    : prefixed_word(from, classes, length);
    if (word != nullptr) return word;
    if ((classes & kNumber) != 0 && rules_.most_digits != kNoDigits) return digits(from, rules_.most_digits);
    if (is_other(classes)) return other_run(from);
    if (*from == ' ' && from + 1 != end_ && is_other(at(from + 1, length))) return other_run(from + 1);
    return (classes & kSpace) != 0 ? space_run(from) : nullptr;
  }

 private:
  const WordRules& rules_;
  const Classes* table_;
  const char* end_;
};

bool is_chinese(uint32_t point) {
  return (point >= 0x4E00 && point <= 0x9FA5) || (point >= 0x3040 && point <= 0x30FF);
}

// The piece at `from` of a pattern that isolates runs of characters, of which the gaps between are pieces too.
template <class Belongs>
const char* isolated(const char* from, const char* end, uint32_t most, Belongs&& belongs) {
  Decoded next = decode(from);
  const bool inside = belongs(next.point);
  uint32_t count = 0;
  while (from != end) {
    next = decode(from);
    if (belongs(next.point) != inside || (inside && count == most)) break;
    from += next.length;
    ++count;
  }
  return from;
}

}  // namespace

std::optional<KnownPattern> known_pattern(std::string_view regex) {
  for (const Known& known : kPatterns) {
    if (known.regex == regex) return known.pattern;
  }
  return std::nullopt;
}

SplitStage byte_level_stage() {
  return kGpt2.stage;
}

const char* next_word(const WordRules& rules, const char* from, const char* end) {
  const Matcher matcher(rules, end);
  const char* stop = matcher.match(from);
  if (stop != nullptr) return stop;
  // Characters that no alternative takes are a piece of their own, up to the next match.
  do {
    from += decode(from).length;
  } while (from != end && matcher.match(from) == nullptr);
  return from;
}

const char* next_piece(const SplitStage& stage, const char* from, const char* end) {
  const Classes* table = class_table();
  switch (stage.kind) {
    case SplitStage::Kind::Words:
      return next_word(stage.rules, from, end);
    case SplitStage::Kind::Numbers:
      return isolated(from, end, stage.most_digits == 0 ? UINT32_MAX : stage.most_digits,
                      [table](uint32_t point) { return (table[point] & kNumber) != 0; });
    case SplitStage::Kind::Chinese:
      return isolated(from, end, UINT32_MAX, is_chinese);
    case SplitStage::Kind::MarkedSpaces:
      break;
  }
  // Before each U+2581, the mark that stands for a space.
  constexpr std::string_view kMark3 = "\xE2\x96\x81";
  const std::string_view rest(from + 1, static_cast<size_t>(end - from - 1));
  const size_t found = rest.find(kMark3);
  return found == std::string_view::npos ? end : from + 1 + found;
}

}  // namespace tweendeck::routing::tokenizer

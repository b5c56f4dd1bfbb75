#include "routing/tokenizer/unicode.h"

#include <simdjson.h>

#include <memory>

namespace tweendeck::routing::tokenizer {
namespace {

// White_Space of Unicode, which is what \s means in the reference; not changed since Unicode 6.3.
constexpr uint32_t kSpaces[][2] = {{0x9, 0xD},       {0x20, 0x20},     {0x85, 0x85},     {0xA0, 0xA0},
                                   {0x1680, 0x1680}, {0x2000, 0x200A}, {0x2028, 0x2029}, {0x202F, 0x202F},
                                   {0x205F, 0x205F}, {0x3000, 0x3000}};

struct Range {
  uint32_t first;
  uint32_t last;
  Classes classes;
};

constexpr Classes Upper = kUpper, Lower = kLower, Letter = kLetter, Mark = kMark, Number = kNumber,
                  Punctuation = kPunctuation, Symbol = kSymbol;
constexpr Range kRanges[] = {
#define TW_CLASS(first, last, name) {first, last, name},
#include "routing/tokenizer/unicode_classes.def"
#undef TW_CLASS
};

Classes g_classes[kCodePoints];

bool fill() {
  for (const Range& range : kRanges) {
    for (uint32_t point = range.first; point <= range.last; ++point) g_classes[point] = range.classes;
  }
  for (const auto& [first, last] : kSpaces) {
    for (uint32_t point = first; point <= last; ++point) g_classes[point] |= kSpace;
  }
  return true;
}

struct Lead {
  int length;            // 0: not a lead byte
  unsigned char lowest;  // bounds of the second byte (Unicode, table 3-7)
  unsigned char highest;
};

Lead lead_of(unsigned char byte) {
  if (byte < 0xC2 || byte > 0xF4) return {0, 0, 0};
  if (byte < 0xE0) return {2, 0x80, 0xBF};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};
  if (byte == 0xED) return {3, 0x80, 0x9F};
  if (byte < 0xF0) return {3, 0x80, 0xBF};
  if (byte == 0xF0) return {4, 0x90, 0xBF};
  return byte == 0xF4 ? Lead{4, 0x80, 0x8F} : Lead{4, 0x80, 0xBF};
}

}  // namespace

const Classes* class_table() {
  static const bool filled = fill();
  (void)filled;
  return g_classes;
}

void append_utf8(uint32_t point, std::string& to) {
  const auto put = [&to](uint32_t byte) { to += static_cast<char>(byte); };
  if (point < 0x80) {
    put(point);
  } else if (point < 0x800) {
    put(0xC0 | point >> 6);
    put(0x80 | (point & 0x3F));
  } else if (point < 0x10000) {
    put(0xE0 | point >> 12);
    put(0x80 | (point >> 6 & 0x3F));
    put(0x80 | (point & 0x3F));
  } else {
    put(0xF0 | point >> 18);
    put(0x80 | (point >> 12 & 0x3F));
    put(0x80 | (point >> 6 & 0x3F));
    put(0x80 | (point & 0x3F));
  }
}

bool is_utf8(std::string_view text) {
  return text.empty() || simdjson::validate_utf8(text.data(), text.size());
}

std::string repaired_utf8(std::string_view text) {
  std::string out;
  out.reserve(text.size() + text.size() / 8);
  for (size_t at = 0; at < text.size();) {
    const auto byte = [&](size_t index) { return static_cast<unsigned char>(text[index]); };
    if (byte(at) < 0x80) {
      out += text[at++];
      continue;
    }
    const Lead lead = lead_of(byte(at));
    size_t good = 1;  // bytes from `at` that some valid character begins with
    if (lead.length > 1 && at + 1 < text.size() && byte(at + 1) >= lead.lowest &&
        byte(at + 1) <= lead.highest) {
      good = 2;
      while (good < static_cast<size_t>(lead.length) && at + good < text.size() &&
             (byte(at + good) & 0xC0) == 0x80) {
        ++good;
      }
    }
    if (lead.length > 0 && good == static_cast<size_t>(lead.length)) {
      out.append(text, at, good);
    } else {
      out += "\xEF\xBF\xBD";
    }
    at += good;
  }
  return out;
}

}  // namespace tweendeck::routing::tokenizer

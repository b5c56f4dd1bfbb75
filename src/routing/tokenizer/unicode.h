// What kind of character a code point is, and UTF-8 read without checks.
//
// The classes are those that pre-tokenizer patterns name (\p{L}, \p{N}, ... and \s), as bits of one byte per code
// point, from unicode_classes.def. Pure; safe from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

namespace tweendeck::routing::tokenizer {

using Classes = uint8_t;
inline constexpr Classes kUpper = 1;   // \p{Lu} \p{Lt}
inline constexpr Classes kLower = 2;   // \p{Ll}
inline constexpr Classes kLetter = 4;  // \p{Lm} \p{Lo}
inline constexpr Classes kMark = 8;
inline constexpr Classes kNumber = 16;
inline constexpr Classes kPunctuation = 32;
inline constexpr Classes kSymbol = 64;
inline constexpr Classes kSpace = 128;  // \s
inline constexpr Classes kAnyLetter = kUpper | kLower | kLetter;

inline constexpr uint32_t kCodePoints = 0x110000;

// One byte of class bits per code point. Pages of the table that no text names are never touched.
const Classes* class_table();

struct Decoded {
  uint32_t point;
  uint32_t length;  // 1 to 4
};

// The character at `at`, which must be the start of one in valid UTF-8.
inline Decoded decode(const char* at) {
  const auto byte = [at](int index) { return static_cast<uint32_t>(static_cast<unsigned char>(at[index])); };
  const uint32_t lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  if (lead < 0xE0) return {(lead & 0x1F) << 6 | (byte(1) & 0x3F), 2};
  if (lead < 0xF0) return {(lead & 0x0F) << 12 | (byte(1) & 0x3F) << 6 | (byte(2) & 0x3F), 3};
  return {(lead & 0x07) << 18 | (byte(1) & 0x3F) << 12 | (byte(2) & 0x3F) << 6 | (byte(3) & 0x3F), 4};
}

// The start of the character that ends before `end`; there is one.
inline const char* before(const char* end) {
  do {
    --end;
  } while ((static_cast<unsigned char>(*end) & 0xC0) == 0x80);
  return end;
}

void append_utf8(uint32_t point, std::string& to);

// Whether `text` is valid UTF-8; many bytes at a time.
bool is_utf8(std::string_view text);

// `text` with each maximal invalid part as U+FFFD, as Python's errors="replace" and the WHATWG decoder have it.
std::string repaired_utf8(std::string_view text);

}  // namespace tweendeck::routing::tokenizer

// What a tokenizer does to text before it is split: Unicode normalization form C, replacing, prepending.
//
// NFC is that of Unicode 9.0, the version of the reference (unicode_nfc.def). Text is valid UTF-8. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace tweendeck::routing::tokenizer {

struct NormalizeStep {
  enum class Kind : uint8_t { Nfc, Prepend, Replace };
  Kind kind = Kind::Nfc;
  std::string find;     // Replace
  std::string content;  // Prepend, Replace
};

// Whether NFC would leave `text` as it is for sure; a fast look, "false" means "maybe not".
bool is_surely_nfc(std::string_view text);
std::string to_nfc(std::string_view text);

std::string replace_all(std::string_view text, std::string_view find, std::string_view content);

// `text` after the steps; the result is a view of `text` or of `scratch`.
std::string_view normalize(const std::vector<NormalizeStep>& steps, std::string_view text,
                           std::string& scratch);

}  // namespace tweendeck::routing::tokenizer

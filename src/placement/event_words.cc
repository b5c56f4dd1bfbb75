#include "placement/event_words.h"

#include <algorithm>

namespace tweendeck::placement {
namespace {

bool is_plain(char c) {
  return c > ' ' && c < 0x7f && c != '%' && c != '=';
}

int digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  return c >= 'A' && c <= 'F' ? c - 'A' + 10 : -1;
}

}  // namespace

std::string escape_word(std::string_view text) {
  std::string word;
  for (const char c : text) {
    if (is_plain(c)) {
      word += c;
      continue;
    }
    const auto byte = static_cast<unsigned char>(c);
    word += '%';
    word += "0123456789ABCDEF"[byte >> 4];
    word += "0123456789ABCDEF"[byte & 15];
  }
  return word;
}

bool unescape_word(std::string_view text, std::string& out) {
  out.clear();
  for (size_t i = 0; i < text.size(); ++i) {
    if (text[i] != '%') {
      if (!is_plain(text[i])) return false;
      out += text[i];
      continue;
    }
    if (i + 2 >= text.size() || digit(text[i + 1]) < 0 || digit(text[i + 2]) < 0) return false;
    out += static_cast<char>(digit(text[i + 1]) << 4 | digit(text[i + 2]));
    i += 2;
  }
  return true;
}

Result<std::vector<Section>> sections_of(std::string_view line) {
  std::vector<Section> sections;
  while (!line.empty()) {
    const size_t end = std::min(line.find(' '), line.size());
    const std::string_view word = line.substr(0, end);
    line.remove_prefix(std::min(end + 1, line.size()));
    if (word.empty()) continue;
    const size_t equals = word.find('=');
    if (equals == std::string_view::npos) {
      sections.push_back({word, {}});
      continue;
    }
    std::string value;
    if (sections.empty() || !unescape_word(word.substr(equals + 1), value)) {
      return fail(Reason::InvalidArgument,
                  "the word " + escape_word(word) + " is misplaced or not escaped properly",
                  "a line begins with a verb; bytes like space are written as %20");
    }
    sections.back().fields.emplace_back(word.substr(0, equals), std::move(value));
  }
  return sections;
}

}  // namespace tweendeck::placement

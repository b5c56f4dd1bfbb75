// Small tokenizer.json files for tests: every byte is a token, and what the given merges make.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "base/text.h"
#include "routing/tokenizer/unicode.h"

namespace tweendeck::routing::tokenizer {

// How a byte-level vocabulary spells `bytes`.
inline std::string byte_level(std::string_view bytes) {
  std::string out;
  for (const char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    uint32_t point = byte;
    if (byte < 33) point = 256u + byte;
    if (byte >= 127 && byte <= 160) point = 256u + 33 + (byte - 127u);
    if (byte == 173) point = 256u + 67;
    append_utf8(point, out);
  }
  return out;
}

struct SmallTokenizer {
  using Merges = std::vector<std::pair<std::string, std::string>>;

  Merges merges = {};  // of bytes, or of characters where `characters` names them
  std::vector<std::string> characters = {};
  std::string normalizer = "null";
  std::string pre_tokenizer = R"({"type": "ByteLevel", "add_prefix_space": false, "use_regex": true})";
  std::string post_processor = "null";
  std::string added = {};  // members of the list; ids are from `first_added()` on
  std::string model_extra = {};

  bool bytes() const { return characters.empty(); }
  size_t first_added() const { return tokens().size(); }

  // In the order of their ids. Characters: <unk>, the 256 byte tokens, then the characters; then the merges' results.
  std::vector<std::string> tokens() const {
    std::vector<std::string> all;
    if (!bytes()) all.push_back("<unk>");
    for (unsigned byte = 0; byte < 256; ++byte) {
      all.push_back(bytes() ? byte_level(std::string(1, static_cast<char>(byte)))
                            : fmt::format("<0x{:02X}>", byte));
    }
    all.insert(all.end(), characters.begin(), characters.end());
    for (const auto& [left, right] : merges) {
      const std::string joined = spelled(left) + spelled(right);
      if (std::find(all.begin(), all.end(), joined) == all.end()) all.push_back(joined);
    }
    return all;
  }

  std::string json() const {
    std::string vocabulary, list;
    uint32_t id = 0;
    for (const std::string& token : tokens()) {
      vocabulary += fmt::format("{}{}: {}", id == 0 ? "" : ", ", json_quote(token), id);
      ++id;
    }
    for (const auto& [left, right] : merges) {
      list += fmt::format("{}[{}, {}]", list.empty() ? "" : ", ", json_quote(spelled(left)),
                          json_quote(spelled(right)));
    }
    const std::string unknown =
        bytes() ? "" : R"(, "unk_token": "<unk>", "fuse_unk": true, "byte_fallback": true)";
    return fmt::format(
        R"({{"added_tokens": [{}], "normalizer": {}, "pre_tokenizer": {}, "post_processor": {}, )"
        R"("model": {{"type": "BPE"{}{}, "vocab": {{{}}}, "merges": [{}]}}}})",
        added, normalizer, pre_tokenizer, post_processor, unknown, model_extra, vocabulary, list);
  }

 private:
  std::string spelled(const std::string& text) const { return bytes() ? byte_level(text) : text; }
};

}  // namespace tweendeck::routing::tokenizer

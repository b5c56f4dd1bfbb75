// Finding added tokens (<|im_start|>, ...) in text before anything else looks at it.
//
// Matches are leftmost, then longest, and do not overlap, as the reference's are. A token may take the white space at
// its sides. Immutable after `add`s; safe from any thread then.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

namespace tweendeck::routing::tokenizer {

struct AddedToken {
  uint32_t id = 0;
  std::string content;
  bool special = false;
  bool normalized = false;  // matched after normalization
  bool lstrip = false;
  bool rstrip = false;
};

// A part of a text: an added token, or text between two of them.
struct Part {
  static constexpr uint32_t kText = UINT32_MAX;
  size_t begin = 0;
  size_t end = 0;
  uint32_t token = kText;
};

class AddedTokens {
 public:
  void add(std::string_view content, const AddedToken& token);  // content: not empty
  bool empty() const { return tokens_.empty(); }

  // Finds the first match that begins at `from` or later. `floor`: white space before it is not taken for lstrip.
  // False when there is none.
  bool find(std::string_view text, size_t from, size_t floor, Part& part) const;

 private:
  struct Entry {
    uint32_t id;
    bool lstrip;
    bool rstrip;
  };
  static constexpr uint32_t kNone = UINT32_MAX;
  size_t candidate(std::string_view text, size_t from) const;
  const Entry* longest(std::string_view text, size_t at, size_t& length) const;

  std::vector<Entry> tokens_;
  std::vector<bool> starts_ = std::vector<bool>(1 << 16);  // first two bytes of some token
  bool first_[256] = {};                                   // first bytes
  std::string few_;                                        // the first bytes, if they are few
  std::unordered_map<uint64_t, uint32_t> next_;            // trie: node << 8 | byte -> node
  std::vector<uint32_t> ends_ = {kNone};                   // node -> token
};

}  // namespace tweendeck::routing::tokenizer

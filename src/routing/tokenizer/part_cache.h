// Ids of long parts of texts met lately, so that a conversation's next turn costs only its new tail.
//
// Added tokens cut a text into parts, and what a part becomes depends on its own bytes only (Encoder::parts), so the ids
// of a part are right wherever it turns up: in the next turn, or behind a system prompt that others share. Parts are
// known by a keyed 128-bit hash, which a client who chooses texts cannot make collide. Bytes are bounded; the part that
// was used longest ago goes first. One thread.
#pragma once

#include <cstdint>
#include <list>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "routing/tokenizer/tokenizer.h"

namespace tweendeck::routing::tokenizer {

class PartCache {
 public:
  // Shorter parts are encoded again: that is about as fast as finding them.
  static constexpr size_t kLeastBytes = 128;

  PartCache(size_t budget_bytes, uint64_t secret) : budget_(budget_bytes), secret_(secret) {}

  // Like encoder.encode(); all calls of one cache are with encoders of one tokenizer.
  void encode(Encoder& encoder, std::string_view text, EncodeOptions options, std::vector<uint32_t>& ids);

  size_t used_bytes() const { return used_; }
  uint64_t found_bytes() const { return found_bytes_; }      // of texts, so far
  uint64_t encoded_bytes() const { return encoded_bytes_; }  // the rest of them

 private:
  struct Key {
    uint64_t low;
    uint64_t high;
    bool operator==(const Key&) const = default;
  };
  struct KeyHash {
    size_t operator()(const Key& key) const { return key.low; }
  };
  struct Entry {
    Key key;
    std::vector<uint32_t> ids;
  };
  // What an entry takes besides its ids: list and table nodes.
  static constexpr size_t kEntryBytes = 128;
  static size_t cost(const Entry& entry) { return kEntryBytes + entry.ids.size() * sizeof(uint32_t); }
  void encode_part(Encoder& encoder, std::string_view text, const Part& part, std::vector<uint32_t>& ids);

  size_t budget_;
  uint64_t secret_;
  size_t used_ = 0;
  uint64_t found_bytes_ = 0;
  uint64_t encoded_bytes_ = 0;
  std::list<Entry> entries_;  // used last first
  std::unordered_map<Key, std::list<Entry>::iterator, KeyHash> places_;
  std::vector<Part> parts_;
};

}  // namespace tweendeck::routing::tokenizer

// Byte pair encoding: a word's characters are joined, pair by pair, in the order of the merges' ranks.
//
// Symbols are bytes (`Alphabet::Bytes`: GPT-2 and most since) or characters with bytes as a way out
// (`Alphabet::Characters`: SentencePiece's, as in Llama 2, Mistral, Gemma). Ids are the reference's. A Bpe is immutable
// after `finish` and safe from any thread; a Merger is the scratch space of one thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace tweendeck::routing::tokenizer {

inline constexpr uint32_t kNoId = UINT32_MAX;

// Tokens by their text: open addressing over one block of bytes.
class Vocabulary {
 public:
  void reserve(size_t tokens);
  bool add(std::string_view text, uint32_t id);  // false: the text is there already
  uint32_t find(std::string_view text) const;    // kNoId when unknown
  std::string_view text(uint32_t id) const;      // "" when unknown
  size_t size() const { return count_; }

 private:
  struct Slot {
    uint32_t tag = 0;
    uint32_t id = kNoId;
  };
  struct Span {
    uint32_t begin = 0;
    uint32_t length = UINT32_MAX;
  };
  size_t mask() const { return slots_.size() - 1; }
  void grow(size_t slots);

  std::string bytes_;
  std::vector<Slot> slots_;
  std::vector<Span> spans_;  // by id
  size_t count_ = 0;
};

struct Merge {
  uint32_t rank = kNoId;  // lower first; kNoId: the pair is not joined
  uint32_t id = kNoId;
};

class Bpe {
 public:
  enum class Alphabet : uint8_t { Bytes, Characters };

  struct Options {
    Alphabet alphabet = Alphabet::Bytes;
    bool ignore_merges = false;  // a word that is a token is that token
    bool byte_fallback = false;  // unknown characters become the tokens <0x00> to <0xFF>
    bool fuse_unknown = false;
    uint32_t unknown = kNoId;
  };

  Vocabulary vocabulary;
  Options options;

  // Pairs are joined in the order of `rank`; a pair that is named again has its last rank.
  void reserve_merges(size_t count);
  void add_merge(uint32_t left, uint32_t right, Merge merge);
  // After all tokens and merges: makes the tables of single symbols and of cuts.
  Status finish();

  Merge merge_of(uint32_t left, uint32_t right) const {
    const uint64_t pair = uint64_t{left} << 32 | right;
    for (size_t at = home(pair);; at = (at + 1) & (merges_.size() - 1)) {
      const Entry& entry = merges_[at];
      if (entry.pair == pair) return entry.merge;
      if (entry.pair == kFree) return {};
    }
  }

  uint32_t byte_id(unsigned char byte) const { return byte_ids_[byte]; }
  Merge byte_merge(unsigned char left, unsigned char right) const {
    return byte_merges_[size_t{left} << 8 | right];
  }

  // Whether no merge can ever join what ends with `left` to what begins with `right` (code points): text may be cut
  // there and its parts encoded one by one. Alphabet::Characters only.
  bool may_cut(uint32_t left, uint32_t right) const {
    if ((left | right) < 128) return !joined_ascii_[left << 7 | right];
    return (joined_[joint(left, right) >> 6] >> (joint(left, right) & 63) & 1) == 0;
  }

 private:
  friend class Merger;
  struct Entry {
    uint64_t pair;
    Merge merge;
  };
  static constexpr uint64_t kFree = UINT64_MAX;
  static constexpr unsigned kJointBits = 21;

  size_t home(uint64_t pair) const { return pair * 0x9E3779B97F4A7C15u >> shift_; }
  static size_t joint(uint32_t left, uint32_t right) {
    return (uint64_t{left} << 32 | right) * 0x9E3779B97F4A7C15u >> (64 - kJointBits);
  }
  void note_cut(uint32_t left, uint32_t right);

  std::vector<Entry> merges_;
  unsigned shift_ = 64;
  size_t merge_count_ = 0;
  uint32_t byte_ids_[256] = {};     // of a byte alone, or of its <0xNN>
  std::vector<Merge> byte_merges_;  // Bytes: by both bytes
  std::vector<uint64_t>
      joined_;  // Characters: bits of pairs that some merge may join; collisions err to "may"
  std::vector<bool> joined_ascii_;
};

class Merger {
 public:
  // Appends the ids of one word (valid UTF-8, or any bytes with Alphabet::Bytes) to `ids`.
  void encode(const Bpe& bpe, std::string_view word, std::vector<uint32_t>& ids);

 private:
  struct Symbol {
    uint32_t id;
    uint32_t previous;
    uint32_t next;
    Merge merge;  // with the next
  };
  void load_bytes(const Bpe& bpe, std::string_view word);
  void load_characters(const Bpe& bpe, std::string_view word);
  void merge_short(const Bpe& bpe);
  void merge_long(const Bpe& bpe);

  std::vector<uint32_t> symbols_;
  std::vector<Merge> pairs_;     // merge_short: of symbol i and i + 1
  std::vector<Symbol> chain_;    // merge_long
  std::vector<uint64_t> queue_;  // merge_long: rank << 32 | position, lowest first
};

}  // namespace tweendeck::routing::tokenizer

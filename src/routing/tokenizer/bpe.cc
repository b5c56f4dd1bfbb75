#include "routing/tokenizer/bpe.h"

#include <fmt/format.h>
#include <xxhash.h>

#include <algorithm>
#include <bit>
#include <functional>
#include <unordered_set>

#include "routing/tokenizer/unicode.h"

namespace tweendeck::routing::tokenizer {
namespace {

// Up to so many symbols, looking at all pairs for the lowest rank is faster than a queue of them.
constexpr size_t kShortWord = 28;

uint64_t hash_of(std::string_view text) {
  return XXH3_64bits(text.data(), text.size());
}

std::string byte_token(unsigned byte) {
  return fmt::format("<0x{:02X}>", byte);
}

}  // namespace

void Vocabulary::reserve(size_t tokens) {
  grow(std::bit_ceil(std::max<size_t>(tokens, 8) * 2));
  spans_.reserve(tokens);
}

void Vocabulary::grow(size_t slots) {
  std::vector<Slot> old(slots);
  old.swap(slots_);
  for (const Slot& slot : old) {
    if (slot.id == kNoId) continue;
    size_t at = hash_of(text(slot.id)) & mask();
    while (slots_[at].id != kNoId) at = (at + 1) & mask();
    slots_[at] = slot;
  }
}

bool Vocabulary::add(std::string_view text, uint32_t id) {
  if (slots_.size() < (count_ + 1) * 2) grow(std::bit_ceil((count_ + 8) * 4));
  const uint64_t hash = hash_of(text);
  size_t at = hash & mask();
  for (; slots_[at].id != kNoId; at = (at + 1) & mask()) {
    if (this->text(slots_[at].id) == text) return false;
  }
  slots_[at] = {static_cast<uint32_t>(hash >> 32), id};
  if (spans_.size() <= id) spans_.resize(size_t{id} + 1);
  spans_[id] = {static_cast<uint32_t>(bytes_.size()), static_cast<uint32_t>(text.size())};
  bytes_ += text;
  ++count_;
  return true;
}

uint32_t Vocabulary::find(std::string_view text) const {
  if (slots_.empty()) return kNoId;
  const uint64_t hash = hash_of(text);
  for (size_t at = hash & mask(); slots_[at].id != kNoId; at = (at + 1) & mask()) {
    if (slots_[at].tag == static_cast<uint32_t>(hash >> 32) && this->text(slots_[at].id) == text)
      return slots_[at].id;
  }
  return kNoId;
}

std::string_view Vocabulary::text(uint32_t id) const {
  if (id >= spans_.size() || spans_[id].length == UINT32_MAX) return {};
  return std::string_view(bytes_).substr(spans_[id].begin, spans_[id].length);
}

void Bpe::reserve_merges(size_t count) {
  const size_t slots = std::bit_ceil(std::max<size_t>(count, 8) * 2);
  std::vector<Entry> old(slots, Entry{kFree, {}});
  old.swap(merges_);
  shift_ = 64 - static_cast<unsigned>(std::countr_zero(slots));
  merge_count_ = 0;
  for (const Entry& entry : old) {
    if (entry.pair != kFree) {
      add_merge(static_cast<uint32_t>(entry.pair >> 32), static_cast<uint32_t>(entry.pair), entry.merge);
    }
  }
}

void Bpe::add_merge(uint32_t left, uint32_t right, Merge merge) {
  if (merges_.size() < (merge_count_ + 1) * 2) reserve_merges((merge_count_ + 8) * 2);
  const uint64_t pair = uint64_t{left} << 32 | right;
  size_t at = home(pair);
  while (merges_[at].pair != kFree && merges_[at].pair != pair) at = (at + 1) & (merges_.size() - 1);
  if (merges_[at].pair == kFree) ++merge_count_;
  merges_[at] = {pair, merge};
}

void Bpe::note_cut(uint32_t left, uint32_t right) {
  if ((left | right) < 128) joined_ascii_[left << 7 | right] = true;
  const size_t bit = joint(left, right);
  joined_[bit >> 6] |= uint64_t{1} << (bit & 63);
}

Status Bpe::finish() {
  if (merges_.empty()) reserve_merges(0);
  if (options.alphabet == Alphabet::Bytes) {
    for (unsigned byte = 0; byte < 256; ++byte) {
      const char text = static_cast<char>(byte);
      byte_ids_[byte] = vocabulary.find({&text, 1});
    }
    byte_merges_.resize(1 << 16);
    for (size_t pair = 0; pair < byte_merges_.size(); ++pair) {
      if (byte_ids_[pair >> 8] == kNoId || byte_ids_[pair & 255] == kNoId) continue;
      byte_merges_[pair] = merge_of(byte_ids_[pair >> 8], byte_ids_[pair & 255]);
    }
    return {};
  }
  for (unsigned byte = 0; options.byte_fallback && byte < 256; ++byte) {
    byte_ids_[byte] = vocabulary.find(byte_token(byte));
    if (byte_ids_[byte] == kNoId) {
      return fail(Reason::TokenizerUnsupported,
                  fmt::format("byte_fallback is on and the vocabulary has no token {}", byte_token(byte)));
    }
  }
  std::unordered_set<uint32_t> byte_tokens;
  if (options.byte_fallback) byte_tokens.insert(byte_ids_, byte_ids_ + 256);
  joined_.resize((size_t{1} << kJointBits) / 64);
  joined_ascii_.resize(1 << 14);
  for (const Entry& entry : merges_) {
    if (entry.pair == kFree) continue;
    for (const uint32_t side : {static_cast<uint32_t>(entry.pair >> 32), static_cast<uint32_t>(entry.pair)}) {
      if (byte_tokens.contains(side)) {
        return fail(Reason::TokenizerUnsupported,
                    fmt::format("a merge joins the byte token {}", vocabulary.text(side)));
      }
    }
    const std::string_view left = vocabulary.text(static_cast<uint32_t>(entry.pair >> 32));
    const std::string_view right = vocabulary.text(static_cast<uint32_t>(entry.pair));
    note_cut(decode(before(left.data() + left.size())).point, decode(right.data()).point);
  }
  return {};
}

void Merger::load_bytes(const Bpe& bpe, std::string_view word) {
  for (const char c : word) {
    const uint32_t id = bpe.byte_id(static_cast<unsigned char>(c));
    if (id != kNoId) {
      symbols_.push_back(id);
    } else if (bpe.options.unknown != kNoId) {
      symbols_.push_back(bpe.options.unknown);
    }
  }
}

// As the reference does it, its order of an unknown character before later known ones included.
void Merger::load_characters(const Bpe& bpe, std::string_view word) {
  bool pending = false;  // an unknown token that is not in symbols_ yet
  for (size_t at = 0; at < word.size();) {
    const size_t length = decode(word.data() + at).length;
    const std::string_view character = word.substr(at, length);
    at += length;
    const uint32_t id = bpe.vocabulary.find(character);
    if (id != kNoId) {
      if (pending) symbols_.push_back(bpe.options.unknown);
      pending = false;
      symbols_.push_back(id);
    } else if (bpe.options.byte_fallback) {
      for (const char c : character) symbols_.push_back(bpe.byte_id(static_cast<unsigned char>(c)));
    } else if (bpe.options.unknown != kNoId) {
      if (pending && !bpe.options.fuse_unknown) symbols_.push_back(bpe.options.unknown);
      pending = true;
    }
  }
  if (pending) symbols_.push_back(bpe.options.unknown);
}

void Merger::merge_short(const Bpe& bpe) {
  size_t count = symbols_.size();
  while (count > 1) {
    size_t best = 0;
    uint32_t lowest = kNoId;
    for (size_t index = 0; index + 1 < count; ++index) {
      if (pairs_[index].rank < lowest) {
        lowest = pairs_[index].rank;
        best = index;
      }
    }
    if (lowest == kNoId) break;
    symbols_[best] = pairs_[best].id;
    --count;
    std::copy(symbols_.begin() + static_cast<ptrdiff_t>(best) + 2,
              symbols_.begin() + static_cast<ptrdiff_t>(count) + 1,
              symbols_.begin() + static_cast<ptrdiff_t>(best) + 1);
    std::copy(pairs_.begin() + static_cast<ptrdiff_t>(best) + 1,
              pairs_.begin() + static_cast<ptrdiff_t>(count), pairs_.begin() + static_cast<ptrdiff_t>(best));
    if (best > 0) pairs_[best - 1] = bpe.merge_of(symbols_[best - 1], symbols_[best]);
    if (best + 1 < count) pairs_[best] = bpe.merge_of(symbols_[best], symbols_[best + 1]);
  }
  symbols_.resize(count);
}

void Merger::merge_long(const Bpe& bpe) {
  const auto count = static_cast<uint32_t>(symbols_.size());
  constexpr uint32_t kEnd = UINT32_MAX;
  chain_.clear();
  queue_.clear();
  for (uint32_t at = 0; at < count; ++at) {
    const Merge merge = at + 1 < count ? pairs_[at] : Merge{};
    chain_.push_back({symbols_[at], at == 0 ? kEnd : at - 1, at + 1 < count ? at + 1 : kEnd, merge});
    if (merge.rank != kNoId) queue_.push_back(uint64_t{merge.rank} << 32 | at);
  }
  std::make_heap(queue_.begin(), queue_.end(), std::greater<>());
  const auto pair_up = [&](uint32_t at) {
    Symbol& symbol = chain_[at];
    symbol.merge = symbol.next == kEnd ? Merge{} : bpe.merge_of(symbol.id, chain_[symbol.next].id);
    if (symbol.merge.rank == kNoId) return;
    queue_.push_back(uint64_t{symbol.merge.rank} << 32 | at);
    std::push_heap(queue_.begin(), queue_.end(), std::greater<>());
  };
  while (!queue_.empty()) {
    std::pop_heap(queue_.begin(), queue_.end(), std::greater<>());
    const uint64_t top = queue_.back();
    queue_.pop_back();
    const auto at = static_cast<uint32_t>(top);
    Symbol& symbol = chain_[at];
    // An entry is out of date when its symbol was taken (then its rank is kNoId) or has another neighbour now.
    if (symbol.merge.rank != top >> 32) continue;
    Symbol& taken = chain_[symbol.next];
    symbol.id = symbol.merge.id;
    symbol.next = taken.next;
    taken.merge = {};
    taken.id = kNoId;
    if (symbol.next != kEnd) chain_[symbol.next].previous = at;
    pair_up(at);
    if (symbol.previous != kEnd) pair_up(symbol.previous);
  }
  symbols_.clear();
  for (uint32_t at = 0; at != kEnd; at = chain_[at].next) symbols_.push_back(chain_[at].id);
}

void Merger::encode(const Bpe& bpe, std::string_view word, std::vector<uint32_t>& ids) {
  if (bpe.options.ignore_merges) {
    const uint32_t whole = bpe.vocabulary.find(word);
    if (whole != kNoId) {
      ids.push_back(whole);
      return;
    }
  }
  symbols_.clear();
  const bool bytes = bpe.options.alphabet == Bpe::Alphabet::Bytes;
  if (bytes) {
    load_bytes(bpe, word);
  } else {
    load_characters(bpe, word);
  }
  if (symbols_.size() > 1) {
    pairs_.resize(symbols_.size());
    const bool direct = bytes && symbols_.size() == word.size();
    for (size_t index = 0; index + 1 < symbols_.size(); ++index) {
      pairs_[index] = direct ? bpe.byte_merge(static_cast<unsigned char>(word[index]),
                                              static_cast<unsigned char>(word[index + 1]))
                             : bpe.merge_of(symbols_[index], symbols_[index + 1]);
    }
    if (symbols_.size() <= kShortWord) {
      merge_short(bpe);
    } else {
      merge_long(bpe);
    }
  }
  ids.insert(ids.end(), symbols_.begin(), symbols_.end());
}

}  // namespace tweendeck::routing::tokenizer

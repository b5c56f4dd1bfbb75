// The ids of words that were encoded lately, by the word's bytes: most words of a text are repeated ones.
//
// One slot per hash, a cache line each; a new word takes the slot of an older one, so the size never changes. Words
// that are too long or have too many ids are not kept. Not safe from two threads.
#pragma once

#include <cstdint>
#include <cstring>
#include <string_view>
#include <vector>

namespace tweendeck::routing::tokenizer {

class WordCache {
 public:
  static constexpr size_t kMostBytes = 24;
  static constexpr size_t kMostIds = 9;
  static constexpr unsigned kSlotBits = 14;  // 1 MiB

  // A word of at most kMostBytes, padded with zeros.
  struct Key {
    uint64_t part[3];
    size_t slot;
    uint8_t length;
  };

  // `limit`: how many bytes from word.data() on may be read.
  static Key key_of(std::string_view word, size_t limit) {
    Key key{{0, 0, 0}, 0, static_cast<uint8_t>(word.size())};
    if (limit >= kMostBytes) {
      std::memcpy(key.part, word.data(), kMostBytes);
      for (size_t index = 0; index < 3; ++index) {
        const size_t before = index * 8;
        const size_t bits = word.size() <= before ? 0 : (word.size() - before) * 8;
        if (bits < 64) key.part[index] &= (uint64_t{1} << bits) - 1;
      }
    } else {
      std::memcpy(key.part, word.data(), word.size());
    }
    uint64_t hash = (key.part[0] ^ key.length) * 0x9E3779B97F4A7C15u;
    hash = (hash ^ hash >> 32 ^ key.part[1]) * 0xD6E8FEB86659FD93u;
    hash = (hash ^ hash >> 32 ^ key.part[2]) * 0xA0761D6478BD642Fu;
    key.slot = hash >> (64 - kSlotBits);
    return key;
  }

  // Appends the ids of the word; false when it is not known.
  bool append(const Key& key, std::vector<uint32_t>& ids) const {
    const Slot& slot = slots_[key.slot];
    if (slot.length != key.length || std::memcmp(slot.part, key.part, sizeof key.part) != 0) return false;
    if (slot.count == 1) {
      ids.push_back(slot.ids[0]);
    } else {
      ids.insert(ids.end(), slot.ids, slot.ids + slot.count);
    }
    return true;
  }

  void keep(const Key& key, const uint32_t* ids, size_t count) {
    if (count > kMostIds) return;
    Slot& slot = slots_[key.slot];
    std::memcpy(slot.part, key.part, sizeof key.part);
    slot.length = key.length;
    slot.count = static_cast<uint8_t>(count);
    if (count > 0) std::memcpy(slot.ids, ids, count * sizeof *ids);
  }

 private:
  struct alignas(64) Slot {
    uint64_t part[3] = {};
    uint32_t ids[kMostIds] = {};
    uint8_t length = 0;  // 0: free
    uint8_t count = 0;
  };
  static_assert(sizeof(Slot) == 64);
  std::vector<Slot> slots_ = std::vector<Slot>(size_t{1} << kSlotBits);
};

}  // namespace tweendeck::routing::tokenizer

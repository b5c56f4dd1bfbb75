// What engines publish about their KV cache, read from the wire: vLLM's events, which SGLang's follow.
//
//   EventReader reader(payload);
//   Event event;
//   while (reader.next(event)) index.apply(endpoint, event);
//   if (reader.malformed()) ...
//
// A payload is a batch [time, [event...], data-parallel rank], or a map with the keys ts and events. An event
// is a map with its type first (vLLM since 0.24) or an array with its tag first (vLLM before, SGLang; trailing
// fields may be missing). A hash is an integer or bytes, of which the last 8 count, so that an engine that
// sends 32 bytes and one that sends 64 bits mean the same block. Fields and events of a type that we do not
// know are jumped over.
//
// One event is in memory at a time, within the limits below; an Event's buffers are used again.
#pragma once

#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

#include "routing/kv/msgpack.h"

namespace tweendeck::routing::kv {

inline constexpr size_t kMaxBlocksPerEvent = size_t{1} << 17;
inline constexpr size_t kMaxTokensPerEvent = size_t{1} << 22;
inline constexpr uint32_t kMaxBlockTokens = 1 << 14;
inline constexpr size_t kMaxExtrasPerEvent = size_t{1} << 18;

// Where a block's memory is. Engines read a block of another tier back before they use it.
enum class Tier : uint8_t { Device, Host };

// Groups of layers with caches of their own. A prefix can be continued from full attention's blocks alone;
// other kinds keep a window or a state, of which a block's presence says nothing.
enum class GroupKind : uint8_t { Unsaid, FullAttention, Other };

struct Event {
  enum class Type : uint8_t { Stored, Removed, Cleared, Unknown };
  Type type = Type::Unknown;
  std::vector<uint64_t> hashes;
  bool has_parent = false;
  uint64_t parent = 0;
  std::vector<uint32_t> tokens;  // empty: the block is known already (it came to another tier)
  uint32_t block_tokens = 0;
  bool has_lora = false;  // by id or name; an older engine tells the id only
  uint64_t lora_id = 0;
  std::string_view lora_name;  // views into the payload
  Tier tier = Tier::Device;
  uint32_t group = 0;
  GroupKind group_kind = GroupKind::Unsaid;
  // What a block's hash covers besides tokens, without the adapter's name: a salt, images. Entry `i` of
  // `extra_ends` says where block i's part of `extras` ends; empty: no block has any.
  std::vector<std::string_view> extras;
  std::vector<uint32_t> extra_ends;

  // Of block i.
  std::span<const std::string_view> extras_of(size_t i) const {
    if (extra_ends.empty()) return {};
    const size_t from = i == 0 ? 0 : extra_ends[i - 1];
    return std::span(extras).subspan(from, extra_ends[i] - from);
  }
  void reset();
};

class EventReader {
 public:
  explicit EventReader(std::string_view payload);
  bool next(Event& event);  // false at the end, and where the payload is malformed
  bool malformed() const { return malformed_; }

 private:
  using Value = MsgpackReader::Value;
  bool bad();
  bool batch_head();
  bool read_array_event(Event& event, uint64_t fields);
  bool read_map_event(Event& event, uint64_t fields);
  bool read_type(Event& event);
  enum class Field : uint8_t {
    Hashes,
    Parent,
    Tokens,
    BlockSize,
    LoraId,
    Medium,
    LoraName,
    Extras,
    Group,
    GroupKind,
    Unknown
  };
  static Field field_named(std::string_view name);
  bool read_field(Event& event, Field field);
  bool read_hashes(Event& event);
  bool read_extras(Event& event);
  bool read_medium(Event& event);
  bool check(Event& event);

  MsgpackReader reader_;
  uint64_t left_ = 0;  // events
  bool malformed_ = false;
};

}  // namespace tweendeck::routing::kv

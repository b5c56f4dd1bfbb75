#include "routing/kv/events.h"

#include <algorithm>
#include <array>
#include <utility>

namespace tweendeck::routing::kv {
namespace {

using Value = MsgpackReader::Value;
using Kind = MsgpackReader::Kind;

constexpr size_t kHashBytes = 8;

bool to_hash(const Value& value, uint64_t& hash) {
  if (value.is_int()) {
    hash = value.number;  // SGLang's are signed
    return true;
  }
  if (!value.is_text() || value.bytes.empty()) return false;
  hash = 0;
  const std::string_view tail =
      value.bytes.substr(value.bytes.size() - std::min(value.bytes.size(), kHashBytes));
  for (const char byte : tail) hash = hash << 8 | static_cast<uint8_t>(byte);
  return true;
}

bool is_device(std::string_view medium) {
  return medium == "GPU" || medium == "gpu" || medium == "DEVICE" || medium == "device";
}

// Names of vLLM's cache specifications whose blocks mean: this part of the prefix is there.
GroupKind kind_named(std::string_view name) {
  constexpr std::array kFull{"full_attention", "mla_attention", "sink_full_attention"};
  return std::ranges::find(kFull, name) != kFull.end() ? GroupKind::FullAttention : GroupKind::Other;
}

}  // namespace

void Event::reset() {
  type = Type::Unknown;
  hashes.clear();
  has_parent = false;
  parent = 0;
  tokens.clear();
  block_tokens = 0;
  has_lora = false;
  lora_id = 0;
  lora_name = {};
  tier = Tier::Device;
  group = 0;
  group_kind = GroupKind::Unsaid;
  extras.clear();
  extra_ends.clear();
}

EventReader::EventReader(std::string_view payload) : reader_(payload) {
  if (!batch_head()) bad();
}

bool EventReader::bad() {
  malformed_ = true;
  left_ = 0;
  return false;
}

bool EventReader::batch_head() {
  Value head;
  if (!reader_.read(head)) return false;
  if (head.kind == Kind::Array) {
    Value events;
    if (head.number < 2 || !reader_.skip() || !reader_.read(events) || events.kind != Kind::Array)
      return false;
    left_ = events.number;
    return true;
  }
  if (head.kind != Kind::Map) return false;
  for (uint64_t i = 0; i < head.number; ++i) {
    Value key;
    if (!reader_.read(key) || key.kind != Kind::Str) return false;
    if (key.bytes != "events") {
      if (!reader_.skip()) return false;
      continue;
    }
    Value events;
    if (!reader_.read(events) || events.kind != Kind::Array) return false;
    left_ = events.number;
    return true;
  }
  return true;
}

bool EventReader::next(Event& event) {
  if (left_ == 0) return false;
  --left_;
  event.reset();
  Value head;
  if (!reader_.read(head)) return bad();
  bool ok = false;
  if (head.kind == Kind::Array && head.number > 0) ok = read_array_event(event, head.number);
  if (head.kind == Kind::Map) ok = read_map_event(event, head.number);
  return (ok && check(event)) || bad();
}

bool EventReader::read_type(Event& event) {
  Value tag;
  if (!reader_.read(tag) || tag.kind != Kind::Str) return false;
  using enum Event::Type;
  event.type = tag.bytes == "BlockStored"        ? Stored
               : tag.bytes == "BlockRemoved"     ? Removed
               : tag.bytes == "AllBlocksCleared" ? Cleared
                                                 : Unknown;
  return true;
}

bool EventReader::read_array_event(Event& event, uint64_t fields) {
  constexpr std::array kStored{Field::Hashes, Field::Parent,   Field::Tokens,   Field::BlockSize,
                               Field::LoraId, Field::Medium,   Field::LoraName, Field::Extras,
                               Field::Group,  Field::GroupKind};
  constexpr std::array kRemoved{Field::Hashes, Field::Medium, Field::Group};
  if (!read_type(event)) return false;
  for (uint64_t i = 0; i + 1 < fields; ++i) {
    Field field = Field::Unknown;
    if (event.type == Event::Type::Stored && i < kStored.size()) field = kStored[i];
    if (event.type == Event::Type::Removed && i < kRemoved.size()) field = kRemoved[i];
    if (!read_field(event, field)) return false;
  }
  return true;
}

bool EventReader::read_map_event(Event& event, uint64_t fields) {
  for (uint64_t i = 0; i < fields; ++i) {
    Value key;
    if (!reader_.read(key) || key.kind != Kind::Str) return false;
    if (!(key.bytes == "type" ? read_type(event) : read_field(event, field_named(key.bytes)))) return false;
  }
  return true;
}

EventReader::Field EventReader::field_named(std::string_view name) {
  constexpr std::array<std::pair<std::string_view, Field>, 10> kNames{
      {{"block_hashes", Field::Hashes},
       {"parent_block_hash", Field::Parent},
       {"token_ids", Field::Tokens},
       {"block_size", Field::BlockSize},
       {"lora_id", Field::LoraId},
       {"medium", Field::Medium},
       {"lora_name", Field::LoraName},
       {"extra_keys", Field::Extras},
       {"group_idx", Field::Group},
       {"kv_cache_spec_kind", Field::GroupKind}}};
  for (const auto& [known, field] : kNames) {
    if (known == name) return field;
  }
  return Field::Unknown;
}

bool EventReader::read_field(Event& event, Field field) {
  switch (field) {
    case Field::Hashes:
      return read_hashes(event);
    case Field::Tokens:
      if (!reader_.rest().empty() && static_cast<uint8_t>(reader_.rest()[0]) == 0xc0) return reader_.skip();
      return reader_.read_uints(event.tokens, kMaxTokensPerEvent);
    case Field::Extras:
      return read_extras(event);
    case Field::Unknown:
      return reader_.skip();
    case Field::Medium:
      return read_medium(event);
    default:
      break;
  }
  Value value;
  if (!reader_.read(value)) return false;
  if (value.kind == Kind::Nil) return true;
  switch (field) {
    case Field::Parent:
      event.has_parent = true;
      return to_hash(value, event.parent);
    case Field::BlockSize:
      event.block_tokens = static_cast<uint32_t>(std::min<uint64_t>(value.number, UINT32_MAX));
      return value.kind == Kind::Uint;
    case Field::LoraId:
      event.has_lora = true;
      event.lora_id = value.number;
      return value.is_int();
    case Field::LoraName:
      event.has_lora = true;
      event.lora_name = value.bytes;
      return value.kind == Kind::Str;
    case Field::Group:
      event.group = static_cast<uint32_t>(std::min<uint64_t>(value.number, UINT32_MAX));
      return value.kind == Kind::Uint;
    case Field::GroupKind:
      event.group_kind = kind_named(value.bytes);
      return value.kind == Kind::Str;
    default:
      return false;
  }
}

bool EventReader::read_hashes(Event& event) {
  Value head;
  if (!reader_.read(head) || head.kind != Kind::Array || head.number > kMaxBlocksPerEvent) return false;
  event.hashes.resize(head.number);
  for (uint64_t& hash : event.hashes) {
    Value value;
    if (!reader_.read(value) || !to_hash(value, hash)) return false;
  }
  return true;
}

bool EventReader::read_medium(Event& event) {
  Value value;
  if (!reader_.read(value)) return false;
  if (value.kind == Kind::Nil) return true;
  event.tier = is_device(value.bytes) ? Tier::Device : Tier::Host;
  return value.kind == Kind::Str;
}

// Per block nil or an array: the adapter's name first, then whatever else the hash covers. A string stands for
// itself, anything else for its encoding.
bool EventReader::read_extras(Event& event) {
  Value blocks;
  if (!reader_.read(blocks)) return false;
  if (blocks.kind == Kind::Nil) return true;
  if (blocks.kind != Kind::Array || blocks.number > kMaxBlocksPerEvent) return false;
  for (uint64_t i = 0; i < blocks.number; ++i) {
    Value block;
    if (!reader_.read(block)) return false;
    if (block.kind != Kind::Nil && block.kind != Kind::Array) return false;
    for (uint64_t k = 0; k < block.number; ++k) {
      MsgpackReader ahead = reader_;
      Value value;
      const std::string_view before = reader_.rest();
      if (!ahead.read(value) || !reader_.skip()) return false;
      const std::string_view encoded = before.substr(0, before.size() - reader_.rest().size());
      if (event.extras.size() == kMaxExtrasPerEvent) return false;
      event.extras.push_back(value.is_text() ? value.bytes : encoded);
    }
    event.extra_ends.push_back(static_cast<uint32_t>(event.extras.size()));
  }
  return true;
}

// What the fields say together; fields of a map come in any order.
bool EventReader::check(Event& event) {
  if (event.type == Event::Type::Unknown || event.type == Event::Type::Cleared) return true;
  if (event.type == Event::Type::Removed || event.tokens.empty()) return true;
  if (event.group_kind == GroupKind::Other) return true;  // it may name fewer blocks than its tokens fill
  if (event.block_tokens == 0 || event.block_tokens > kMaxBlockTokens) return false;
  if (event.tokens.size() != event.hashes.size() * uint64_t{event.block_tokens}) return false;
  if (!event.extra_ends.empty() && event.extra_ends.size() != event.hashes.size()) return false;
  if (event.lora_name.empty() || event.extras.empty()) return true;
  size_t kept = 0;
  uint32_t from = 0;
  for (uint32_t& end : event.extra_ends) {
    const uint32_t to = end;
    for (uint32_t k = from; k < to; ++k) {
      const bool names_adapter = k == from && event.extras[k] == event.lora_name;
      if (!names_adapter) event.extras[kept++] = event.extras[k];
    }
    from = to;
    end = static_cast<uint32_t>(kept);
  }
  event.extras.resize(kept);
  return true;
}

}  // namespace tweendeck::routing::kv

#include "routing/kv/msgpack.h"

namespace tweendeck::routing::kv {

bool MsgpackReader::fail() {
  malformed_ = true;
  rest_ = {};
  return false;
}

bool MsgpackReader::take(size_t bytes, uint64_t& number) {
  if (rest_.size() < bytes) return fail();
  number = 0;
  for (size_t i = 0; i < bytes; ++i) number = number << 8 | static_cast<uint8_t>(rest_[i]);
  rest_.remove_prefix(bytes);
  return true;
}

bool MsgpackReader::bytes(Value& out, Kind kind, uint64_t count) {
  if (rest_.size() < count) return fail();
  out.kind = kind;
  out.bytes = rest_.substr(0, count);
  rest_.remove_prefix(count);
  return true;
}

// Each entry takes at least one byte, a map's two.
bool MsgpackReader::entries(Value& out, Kind kind, uint64_t count) {
  if (rest_.size() < (kind == Kind::Map ? 2 * count : count)) return fail();
  out.kind = kind;
  out.number = count;
  return true;
}

// https://github.com/msgpack/msgpack/blob/master/spec.md, "Formats"
bool MsgpackReader::read(Value& out) {
  uint64_t tag = 0;
  if (!take(1, tag)) return false;
  out.bytes = {};
  out.number = 0;
  auto number = [&](Kind kind, size_t width) {
    out.kind = kind;
    return take(width, out.number);
  };
  auto sized = [&](size_t width, Kind kind) {
    uint64_t count = 0;
    if (!take(width, count)) return false;
    if (kind == Kind::Array || kind == Kind::Map) return entries(out, kind, count);
    return bytes(out, kind, kind == Kind::Ext ? count + 1 : count);
  };
  auto signed_number = [&](size_t width) {
    if (!number(Kind::Uint, width)) return false;
    const uint64_t sign = uint64_t{1} << (8 * width - 1);
    if ((out.number & sign) != 0) {
      out.kind = Kind::NegativeInt;
      out.number |= ~(sign | (sign - 1));
    }
    return true;
  };
  if (tag < 0x80) {
    out.kind = Kind::Uint;
    out.number = tag;
    return true;
  }
  if (tag < 0x90) return entries(out, Kind::Map, tag & 0x0f);
  if (tag < 0xa0) return entries(out, Kind::Array, tag & 0x0f);
  if (tag < 0xc0) return bytes(out, Kind::Str, tag & 0x1f);
  if (tag >= 0xe0) {
    out.kind = Kind::NegativeInt;
    out.number = ~uint64_t{0xff} | tag;
    return true;
  }
  switch (tag) {
    case 0xc0:
      out.kind = Kind::Nil;
      return true;
    case 0xc2:
    case 0xc3:
      out.kind = Kind::Bool;
      out.number = tag & 1;
      return true;
    case 0xc4:
    case 0xc5:
    case 0xc6:
      return sized(size_t{1} << (tag - 0xc4), Kind::Bin);
    case 0xc7:
    case 0xc8:
    case 0xc9:
      return sized(size_t{1} << (tag - 0xc7), Kind::Ext);
    case 0xca:
    case 0xcb:
      return number(Kind::Float, tag == 0xca ? 4 : 8);
    case 0xcc:
    case 0xcd:
    case 0xce:
    case 0xcf:
      return number(Kind::Uint, size_t{1} << (tag - 0xcc));
    case 0xd0:
    case 0xd1:
    case 0xd2:
    case 0xd3:
      return signed_number(size_t{1} << (tag - 0xd0));
    case 0xd4:
    case 0xd5:
    case 0xd6:
    case 0xd7:
    case 0xd8:
      return bytes(out, Kind::Ext, 1 + (uint64_t{1} << (tag - 0xd4)));
    case 0xd9:
    case 0xda:
    case 0xdb:
      return sized(size_t{1} << (tag - 0xd9), Kind::Str);
    case 0xdc:
    case 0xdd:
      return sized(tag == 0xdc ? 2 : 4, Kind::Array);
    case 0xde:
    case 0xdf:
      return sized(tag == 0xde ? 2 : 4, Kind::Map);
    default:  // 0xc1 is never used
      return fail();
  }
}

bool MsgpackReader::skip() {
  // What is still to be jumped over is at most the bytes that are left: entries() has checked each head.
  for (uint64_t left = 1; left > 0; --left) {
    Value value;
    if (!read(value)) return false;
    if (value.kind == Kind::Array) left += value.number;
    if (value.kind == Kind::Map) left += 2 * value.number;
  }
  return true;
}

bool MsgpackReader::read_uints(std::vector<uint32_t>& out, size_t max) {
  out.clear();
  Value head;
  if (!read(head)) return false;
  if (head.kind != Kind::Array || head.number > max) return fail();
  out.resize(head.number);
  const auto* at = reinterpret_cast<const uint8_t*>(rest_.data());
  const uint8_t* const end = at + rest_.size();
  // Token ids are what an event mostly consists of: the three encodings that they have, without a call.
  for (uint32_t& number : out) {
    const size_t left = static_cast<size_t>(end - at);
    if (left >= 1 && at[0] < 0x80) {
      number = at[0];
      at += 1;
    } else if (left >= 3 && at[0] == 0xcd) {
      number = static_cast<uint32_t>(at[1]) << 8 | at[2];
      at += 3;
    } else if (left >= 2 && at[0] == 0xcc) {
      number = at[1];
      at += 2;
    } else {
      rest_.remove_prefix(rest_.size() - left);
      Value value;
      if (!read(value)) return false;
      if (value.kind != Kind::Uint || value.number > UINT32_MAX) return fail();
      number = static_cast<uint32_t>(value.number);
      at = reinterpret_cast<const uint8_t*>(rest_.data());
    }
  }
  rest_.remove_prefix(rest_.size() - static_cast<size_t>(end - at));
  return true;
}

}  // namespace tweendeck::routing::kv

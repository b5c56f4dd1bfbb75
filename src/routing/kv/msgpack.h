// Reads MessagePack without copying or allocating.
//
// Bytes come from engines, so nothing is believed: a count that the rest of the bytes cannot hold is malformed
// at once, nesting costs no stack, and strings are views into the input. Once malformed, every call fails.
//
// Our own instead of Debian's msgpack-cxx: that builds a tree of objects before anyone has looked at it (4
// times as slow on a BlockStored event), and its package pulls in a second Boost.
#pragma once

#include <cstdint>
#include <string_view>
#include <vector>

namespace tweendeck::routing::kv {

class MsgpackReader {
 public:
  enum class Kind : uint8_t { Nil, Bool, Uint, NegativeInt, Float, Str, Bin, Array, Map, Ext };
  struct Value {
    Kind kind = Kind::Nil;
    uint64_t number = 0;     // Bool, Uint; NegativeInt as two's complement; Array and Map: entries
    std::string_view bytes;  // Str, Bin, Ext
    bool is_text() const { return kind == Kind::Str || kind == Kind::Bin; }
    bool is_int() const { return kind == Kind::Uint || kind == Kind::NegativeInt; }
  };

  explicit MsgpackReader(std::string_view bytes) : rest_(bytes) {}

  // The next value; of an array or map only its head, the entries follow.
  bool read(Value& out);
  // Jumps over one value with all that is in it.
  bool skip();
  // Array of at most `max` numbers that fit 32 bits; replaces `out`.
  bool read_uints(std::vector<uint32_t>& out, size_t max);

  std::string_view rest() const { return rest_; }
  bool malformed() const { return malformed_; }

 private:
  bool fail();
  bool take(size_t bytes, uint64_t& number);  // big-endian
  bool bytes(Value& out, Kind kind, uint64_t count);
  bool entries(Value& out, Kind kind, uint64_t count);

  std::string_view rest_;
  bool malformed_ = false;
};

}  // namespace tweendeck::routing::kv

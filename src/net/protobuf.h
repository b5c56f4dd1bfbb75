// Protocol Buffers' wire format, for the few messages that are read and written by hand.
//
//   ProtoReader in(bytes);
//   while (in.next()) {
//     if (in.field() == 1 && in.is_bytes()) name = in.bytes();
//   }
//   if (!in.ok()) ...                      // cut off or malformed
//
// Reading copies nothing; unknown fields are skipped, as proto3 asks. Writing goes from the end to the
// beginning, so that every length is known when it is written: fields in reverse order, and a message's
// content before its length.
//
//   ProtoWriter out;
//   size_t mark = out.size();
//   out.field(2, "value"); out.field(1, "key");
//   out.message(3, mark);                  // field 3 = what was written since `mark`
//
// Format: protobuf.dev/programming-guides/encoding. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace tweendeck::net {

class ProtoReader {
 public:
  explicit ProtoReader(std::string_view bytes) : rest_(bytes) {}

  bool next();  // the next field; false at the end and when what follows is malformed
  bool ok() const { return ok_; }

  uint32_t field() const { return field_; }
  bool is_bytes() const { return type_ == 2; }
  bool is_varint() const { return type_ == 0; }
  std::string_view bytes() const { return bytes_; }  // is_bytes(): also strings and messages
  uint64_t varint() const { return varint_; }        // is_varint(): also enums and booleans

 private:
  bool take_varint(uint64_t& out);
  bool broken() { return ok_ = false; }

  std::string_view rest_;
  bool ok_ = true;
  uint32_t field_ = 0;
  uint8_t type_ = 0;
  uint64_t varint_ = 0;
  std::string_view bytes_;
};

class ProtoWriter {
 public:
  size_t size() const { return used_ + absent_; }
  void clear() { used_ = absent_ = tail_ = 0; }

  void field(uint32_t number, std::string_view bytes);
  void field(uint32_t number, uint64_t value);
  void flag(uint32_t number, bool value) { field(number, uint64_t{value}); }
  void message(uint32_t number, size_t mark);
  // A field of type bytes whose value is not copied: it stands between head() and tail(). Once per message.
  void absent_field(uint32_t number, size_t bytes);

  // The message before and after the absent bytes; without such, head() is all of it.
  std::string_view head() const { return whole().substr(0, used_ - tail_); }
  std::string_view tail() const { return whole().substr(used_ - tail_); }

 private:
  std::string_view whole() const { return std::string_view(buffer_).substr(buffer_.size() - used_); }
  char* grow(size_t bytes);
  void varint(uint64_t value);

  std::string buffer_;  // used from its end
  size_t used_ = 0;
  size_t absent_ = 0;  // bytes
  size_t tail_ = 0;    // of the used ones, those after the absent bytes
};

}  // namespace tweendeck::net

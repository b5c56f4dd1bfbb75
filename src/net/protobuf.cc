#include "net/protobuf.h"

#include <algorithm>
#include <cstring>

namespace tweendeck::net {
namespace {

enum WireType : uint8_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

constexpr int kMaxVarintBytes = 10;
constexpr size_t kFirstBufferBytes = 256;

size_t fixed_size(uint8_t type) {
  return type == kFixed64 ? 8 : type == kFixed32 ? 4 : 0;
}

}  // namespace

bool ProtoReader::take_varint(uint64_t& out) {
  out = 0;
  for (int i = 0; i < kMaxVarintBytes; ++i) {
    if (rest_.empty()) return broken();
    const auto byte = static_cast<uint8_t>(rest_.front());
    rest_.remove_prefix(1);
    out |= static_cast<uint64_t>(byte & 0x7f) << (7 * i);
    if (byte < 0x80) return true;
  }
  return broken();
}

bool ProtoReader::next() {
  if (!ok_ || rest_.empty()) return false;
  uint64_t key = 0;
  if (!take_varint(key)) return false;
  if (key >> 3 == 0 || key >> 32 != 0) return broken();
  field_ = static_cast<uint32_t>(key >> 3);
  type_ = static_cast<uint8_t>(key & 7);
  if (type_ == kVarint) return take_varint(varint_);
  uint64_t size = fixed_size(type_);
  if (type_ == kBytes) {
    if (!take_varint(size)) return false;
  } else if (size == 0) {
    return broken();  // groups, which no message of today has
  }
  if (size > rest_.size()) return broken();
  bytes_ = rest_.substr(0, static_cast<size_t>(size));
  rest_.remove_prefix(static_cast<size_t>(size));
  return true;
}

char* ProtoWriter::grow(size_t bytes) {
  if (buffer_.size() - used_ < bytes) {
    std::string larger(std::max({kFirstBufferBytes, 2 * buffer_.size(), used_ + bytes}), '\0');
    const std::string_view kept = whole();
    std::memcpy(larger.data() + larger.size() - used_, kept.data(), kept.size());
    buffer_ = std::move(larger);
  }
  used_ += bytes;
  return buffer_.data() + buffer_.size() - used_;
}

void ProtoWriter::varint(uint64_t value) {
  char bytes[kMaxVarintBytes];
  size_t size = 0;
  do {
    const auto low = static_cast<uint8_t>(value & 0x7f);
    value >>= 7;
    bytes[size++] = static_cast<char>(value != 0 ? low | 0x80 : low);
  } while (value != 0);
  std::memcpy(grow(size), bytes, size);
}

void ProtoWriter::field(uint32_t number, std::string_view bytes) {
  char* at = grow(bytes.size());
  if (!bytes.empty()) std::memcpy(at, bytes.data(), bytes.size());
  varint(bytes.size());
  varint(uint64_t{number} << 3 | kBytes);
}

void ProtoWriter::field(uint32_t number, uint64_t value) {
  varint(value);
  varint(uint64_t{number} << 3 | kVarint);
}

void ProtoWriter::message(uint32_t number, size_t mark) {
  varint(size() - mark);
  varint(uint64_t{number} << 3 | kBytes);
}

void ProtoWriter::absent_field(uint32_t number, size_t bytes) {
  tail_ = used_;
  absent_ = bytes;
  varint(bytes);
  varint(uint64_t{number} << 3 | kBytes);
}

}  // namespace tweendeck::net

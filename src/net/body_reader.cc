// BodyReader of net/http1.h: the framing of message bodies as a state machine over bytes.
#include <algorithm>

#include "net/http1.h"

namespace tweendeck::net {
namespace {

constexpr uint32_t kMaxSizeDigits = 15;  // of a chunk: below 2^60

int hex_digit(char c) {
  if (c >= '0' && c <= '9') return c - '0';
  if (c >= 'a' && c <= 'f') return c - 'a' + 10;
  if (c >= 'A' && c <= 'F') return c - 'A' + 10;
  return -1;
}

bool is_line_byte(char c) {
  return (static_cast<unsigned char>(c) >= 0x20 && c != 0x7f) || c == '\t';
}

}  // namespace

BodyReader::BodyReader(Framing framing, uint64_t content_length, const HttpLimits& limits)
    : remaining_(content_length), overhead_left_(limits.trailer_bytes) {
  switch (framing) {
    case Framing::None:
      state_ = State::Done;
      break;
    case Framing::Length:
      state_ = content_length == 0 ? State::Done : State::Length;
      break;
    case Framing::Chunked:
      state_ = State::Size;
      remaining_ = 0;
      break;
    case Framing::UntilClose:
      state_ = State::UntilClose;
      break;
  }
}

bool BodyReader::fail(const char* why) {
  state_ = State::Broken;
  error_ = why;
  return false;
}

bool BodyReader::next(std::string_view in, Piece& piece) {
  piece = {};
  if (state_ == State::Broken) return false;
  while (piece.consumed < in.size() && state_ != State::Done) {
    if (state_ == State::Length || state_ == State::Data || state_ == State::UntilClose) {
      size_t size = in.size() - piece.consumed;
      if (state_ != State::UntilClose) {
        size = static_cast<size_t>(std::min<uint64_t>(size, remaining_));
        remaining_ -= size;
      }
      piece.content = in.substr(piece.consumed, size);
      piece.consumed += size;
      content_bytes_ += size;
      if (state_ == State::Length && remaining_ == 0) state_ = State::Done;
      if (state_ == State::Data && remaining_ == 0) state_ = State::DataCr;
      return true;
    }
    if (!step(in[piece.consumed])) return false;
    ++piece.consumed;
  }
  return true;
}

bool BodyReader::spend_overhead() {
  if (overhead_left_ == 0) return fail("chunk extensions and trailers pass their limit");
  --overhead_left_;
  return true;
}

bool BodyReader::step(char c) {
  switch (state_) {
    case State::Size: {
      int digit = hex_digit(c);
      if (digit >= 0) {
        if (++size_digits_ > kMaxSizeDigits) return fail("a chunk size has too many digits");
        remaining_ = remaining_ * 16 + static_cast<uint64_t>(digit);
        return true;
      }
      if (size_digits_ == 0) return fail("a chunk has no size");
      if (c == '\r') {
        state_ = State::SizeEnd;
      } else if (c == ';') {
        state_ = State::Extension;
      } else {
        return fail("a chunk size is no hexadecimal number");
      }
      return true;
    }
    case State::Extension:
      if (c == '\r') {
        state_ = State::SizeEnd;
        return true;
      }
      if (!is_line_byte(c)) return fail("a chunk extension holds a control byte");
      return spend_overhead();
    case State::SizeEnd:
      if (c != '\n') return fail("a chunk size does not end in CRLF");
      state_ = remaining_ == 0 ? State::TrailerStart : State::Data;
      size_digits_ = 0;
      return true;
    case State::DataCr:
      if (c != '\r') return fail("a chunk is longer than its size");
      state_ = State::DataLf;
      return true;
    case State::DataLf:
      if (c != '\n') return fail("a chunk does not end in CRLF");
      state_ = State::Size;
      return true;
    case State::TrailerStart:
      if (c == '\r') {
        state_ = State::LastLf;
        return true;
      }
      state_ = State::Trailer;
      [[fallthrough]];
    case State::Trailer:
      if (c == '\r') {
        state_ = State::TrailerEnd;
        return true;
      }
      if (!is_line_byte(c)) return fail("a trailer holds a control byte");
      return spend_overhead();
    case State::TrailerEnd:
      if (c != '\n') return fail("a trailer does not end in CRLF");
      state_ = State::TrailerStart;
      return true;
    case State::LastLf:
      if (c != '\n') return fail("the last chunk does not end in CRLF");
      state_ = State::Done;
      return true;
    default:
      return fail("the body has ended");
  }
}

}  // namespace tweendeck::net

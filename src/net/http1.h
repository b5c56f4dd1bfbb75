// HTTP/1.1 message syntax: a strict parser for heads and bodies that arrive in pieces.
//
// Strict means: what two parsers could read differently is refused, because a difference between this gateway
// and a model server is how requests are smuggled. Lines end in CRLF; no folded lines; one Content-Length at
// most; no Transfer-Encoding other than "chunked", never beside Content-Length; names are tokens, values hold
// no control bytes. Views in a parsed head point into the buffer it was parsed from. Pure; nothing here
// allocates per field beyond the vector of fields, which is reused. Results do not depend on how the bytes
// were split.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace tweendeck::net {

struct HttpLimits {
  size_t head_bytes = 32 * 1024;  // request or status line and all fields
  size_t fields = 128;
  size_t trailer_bytes = 4 * 1024;  // chunk extensions and trailers, over the whole body
};

// Fields that the framing or a proxy must know; recognised while parsing.
enum class Field : uint8_t {
  Other,
  Authorization,
  Connection,
  ContentLength,
  ContentType,
  Expect,
  Host,
  KeepAlive,
  ProxyAuthenticate,
  ProxyAuthorization,
  ProxyConnection,
  Te,
  Trailer,
  TransferEncoding,
  Upgrade,
};

struct HeaderField {
  std::string_view name;
  std::string_view value;
  Field id = Field::Other;
};

enum class Framing : uint8_t { None, Length, Chunked, UntilClose };

struct MessageHead {
  int minor_version = 1;
  std::vector<HeaderField> fields;
  Framing framing = Framing::None;
  uint64_t content_length = 0;  // when framing is Length
  bool keep_alive = true;
  std::string_view
      connection_options;  // value of Connection; names further fields that must not be forwarded

  // The value of the first field of this name (case-insensitive), or nullopt-like: data() == nullptr when
  // absent.
  std::string_view find(std::string_view name) const;
};

struct RequestHead : MessageHead {
  std::string_view method;
  std::string_view target;  // origin form: starts with '/'
  bool expect_continue = false;
};

struct ResponseHead : MessageHead {
  int status = 0;
  std::string_view reason_phrase;
};

// Size of the head at the front of `buffer` including its empty line; 0 while it is incomplete. `scanned`
// starts at 0 and lets the next call continue. Error HeadersTooLarge when it passes the limit.
Result<size_t> head_size(std::string_view buffer, size_t& scanned, const HttpLimits& limits);

// `head` is exactly the bytes that head_size counted. Errors: MalformedRequest, HeadersTooLarge, Unsupported.
Status parse_request_head(std::string_view head, const HttpLimits& limits, RequestHead& out);
// Error: UpstreamFailed. `to_head` = the request's method was HEAD, whose answer has no body.
Status parse_response_head(std::string_view head, const HttpLimits& limits, bool to_head, ResponseHead& out);

bool equals_ignoring_case(std::string_view a, std::string_view b);
// True when `list`, a comma list such as Connection's value, holds `token` (case-insensitive).
bool list_contains(std::string_view list, std::string_view token);
// True for fields that end at each hop (RFC 9110 section 7.6.1), those named by Connection included.
bool is_hop_by_hop(const HeaderField& field, const MessageHead& head);

// Reads a body piece by piece: next() takes bytes from the front of `in` and shows what of them is content.
//
//   while (!body.done() && !in.empty()) {
//     if (!body.next(in, piece)) refuse(body.error());
//     use(piece.content); in.remove_prefix(piece.consumed);
//   }
class BodyReader {
 public:
  struct Piece {
    size_t consumed = 0;
    std::string_view content;
  };

  BodyReader() = default;  // of a message without a body
  BodyReader(Framing framing, uint64_t content_length, const HttpLimits& limits);
  explicit BodyReader(const MessageHead& head, const HttpLimits& limits = {})
      : BodyReader(head.framing, head.content_length, limits) {}

  // Takes at least one byte unless done() or `in` is empty. False when the framing is broken; then error()
  // says why.
  bool next(std::string_view in, Piece& piece);
  bool done() const { return state_ == State::Done; }
  bool until_close() const { return state_ == State::UntilClose; }
  uint64_t content_bytes() const { return content_bytes_; }
  const char* error() const { return error_; }

 private:
  enum class State : uint8_t {
    Length,
    UntilClose,
    Size,
    Extension,
    SizeEnd,
    Data,
    DataCr,
    DataLf,
    TrailerStart,
    Trailer,
    TrailerEnd,
    LastLf,
    Done,
    Broken
  };
  bool fail(const char* why);
  bool step(char c);  // one byte of chunk framing
  bool spend_overhead();

  State state_ = State::Done;
  uint64_t remaining_ = 0;
  uint64_t content_bytes_ = 0;
  uint32_t size_digits_ = 0;
  size_t overhead_left_ = 0;
  const char* error_ = "";
};

// `text` as HTTP tells the reason phrase of a status: 200 -> "OK".
std::string_view status_text(int status);

}  // namespace tweendeck::net

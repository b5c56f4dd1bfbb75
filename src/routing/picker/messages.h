// envoy.service.ext_proc.v3: the messages between a proxy and the picker, read and written by hand.
//
// Why not generated code: the messages are few, a body must not be copied into an object and out of it again, and
// this part runs for every chunk of every request and answer. The wire format is checked against the original
// protocol files' messages, recorded in test/data/ext_proc. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "net/protobuf.h"

namespace tweendeck::routing::picker {

struct HeaderView {
  std::string_view name, value;  // names as the proxy sends them: lower case
};

// What the proxy says. Views into the message's bytes.
struct FromProxy {
  enum class Kind : uint8_t {
    Nothing,  // a message of none of these kinds
    RequestHeaders,
    ResponseHeaders,
    RequestBody,
    ResponseBody,
    RequestTrailers,
    ResponseTrailers
  };
  static constexpr size_t kMaxHeaders = 1000;
  static constexpr size_t kMaxSubset = 10'000;
  static constexpr int kMaxNesting = 8;  // of the metadata's values

  Kind kind = Kind::Nothing;
  bool end_of_stream = false;
  std::vector<HeaderView> headers;
  std::string_view body;
  bool has_subset = false;               // even an empty hint is one
  std::vector<std::string_view> subset;  // "ip:port" or "ip"
  std::string_view served;               // the endpoint that answered, as the proxy tells

  std::string_view header(std::string_view name) const;  // the first one; "" = none
};

// False when the bytes are malformed or pass a limit. `out` is overwritten; its vectors keep their capacity.
bool parse_from_proxy(std::string_view bytes, FromProxy& out);

struct SetHeader {
  std::string_view name, value;  // replaces all that were there
};

struct Mutation {
  std::vector<SetHeader> set;
  std::vector<std::string_view> remove;
};

// Each begins a new message in `out`, which is cleared first.
// `destination` goes to the metadata that load balancers of the proxy read; "" = none.
void write_request_headers(const Mutation& mutation, std::string_view destination, net::ProtoWriter& out);
void write_response_headers(const Mutation& mutation, net::ProtoWriter& out);
// The body itself is not in `out`: it stands between head() and tail().
void write_body(bool of_request, size_t body_bytes, bool end_of_stream, net::ProtoWriter& out);
void write_trailers(bool of_request, net::ProtoWriter& out);
void write_immediate(int status, const Mutation& mutation, std::string_view body, std::string_view details,
                     net::ProtoWriter& out);

}  // namespace tweendeck::routing::picker

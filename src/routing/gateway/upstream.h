// One connection to a replica: sends a request, passes its answer to the session byte for byte, and is then
// kept for the next one. Loop thread only; owned by Core.
//
// Any call of a Session may close that session, which detaches and closes this connection: session_ is looked
// at again after each. Closed objects live until the current event has been handled.
#pragma once

#include <memory>
#include <string>

#include "net/stream.h"
#include "routing/gateway/core.h"

namespace tweendeck::routing::gateway {

class Upstream final : net::StreamHandler {
 public:
  Upstream(Core& core, std::shared_ptr<EndpointEntry> entry);

  void connect();
  void begin(Session& session);  // sends the session's request, at once or when the connection is there
  void pump();                   // there is more of the request, or room at the client again
  void detach();                 // the session is gone: closes
  void close();
  void time_out(const Error& error) { fail(error); }

  bool connecting() const { return stream_.connecting(); }
  bool never_connected() const { return !connected_; }
  bool reused() const { return uses_ > 1; }
  bool got_bytes() const { return got_bytes_; }
  Nanos idle_since = 0;
  const std::shared_ptr<EndpointEntry>& entry() const { return entry_; }

 private:
  void on_readable() override;
  void on_writable() override;
  void build_head();
  void send_request();
  void send_overflow();
  void read_answer();
  bool read_head();
  void start_client_answer();
  bool relay_body();
  bool relay_decoded();
  void end_answer();
  void fail(const Error& error);
  void fail(std::string message);

  Core& core_;
  std::shared_ptr<EndpointEntry> entry_;
  net::Stream stream_;
  Session* session_ = nullptr;  // null while idle and after the end
  bool connected_ = false;
  uint32_t uses_ = 0;

  std::string head_;              // of the request, as this replica gets it
  std::string_view replacement_;  // of the model's name in the body; null data = none
  size_t sent_ = 0;               // of head and body
  bool first_part_sent_ = false;
  bool request_sent_ = false;

  bool got_bytes_ = false;
  bool head_done_ = false;
  size_t scanned_ = 0;  // of the answer's head
  net::ResponseHead answer_;
  net::BodyReader body_;
  size_t checked_ = 0;  // bytes at the input's front that passed the framing but were not taken by the client
  bool decode_ = false;  // the client speaks HTTP/1.0: chunks are taken apart
  bool keep_client_ = false;
};

}  // namespace tweendeck::routing::gateway

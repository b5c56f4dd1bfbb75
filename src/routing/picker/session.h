// One HTTP request as the picker sees it: what the proxy says, and what it is told. Pure: bytes of messages in,
// messages out through ToProxy.
//
//   request headers ... held ... request body, last piece -> endpoint chosen -> headers' answer, body's answer
//   response headers, response body -> each answered at once
//
// The order of the protocol is kept whatever the proxy mixes: nothing is said of the body before the headers, nor of
// trailers before the body. A body passes by reference, in pieces of at most kMaxBodyChunk bytes.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "net/http2/grpc.h"
#include "routing/dialect/body_scanner.h"
#include "routing/dialect/usage_sniffer.h"
#include "routing/picker/messages.h"
#include "routing/picker/names.h"
#include "routing/picker/pool.h"

namespace tweendeck::routing::picker {

// The stream of ext_proc messages to the proxy.
class ToProxy {
 public:
  // message.head(), then `body`, a part of *owner, then message.tail().
  virtual void send(const net::ProtoWriter& message, std::shared_ptr<const std::string> owner,
                    std::string_view body) = 0;
  virtual void finish() = 0;                        // the stream ends well; the proxy goes on without us
  virtual void fail(std::string_view message) = 0;  // the proxy broke the protocol; its failure mode decides
  virtual size_t unsent() const = 0;
  virtual void pause(bool paused) = 0;  // asks the proxy to send no more for now

 protected:
  ~ToProxy() = default;
};

class Session final : Waiter {
 public:
  Session(Pool& pool, ToProxy& proxy);
  ~Session();

  void on_message(const net::http2::GrpcMessage& message);
  void on_half_close();  // the proxy is done with the request
  void on_drained();     // all that was sent has gone on
  void on_closed();      // the stream is gone; nothing may be sent any more

 private:
  // A piece of a body; `bytes` lie in *owner.
  struct Piece {
    std::shared_ptr<const std::string> owner;
    std::string_view bytes;
  };
  enum class Phase : uint8_t { Headers, Holding, Waiting, Passing, Sent };  // of the request

  void take_request_headers();
  void take_request_body(const net::http2::GrpcMessage& message);
  void take_request_trailers();
  void take_response_headers();
  void take_response_body(const net::http2::GrpcMessage& message);
  void take_response_trailers();

  void take_hints();
  std::string_view control(const Control& names) const;
  void pick_any();
  bool scan(std::string_view bytes);
  bool scan_ends();
  bool hold(const net::http2::GrpcMessage& message);
  void body_complete();
  void submit();
  void hash_prompt();
  void rename_model();
  void chosen(Choice choice) override;
  void refused(const Error& error) override;
  void send_held();
  void send_body(bool of_request, const Piece& piece, bool end_of_stream);
  void release_hold();
  void settle(bool complete);

  Pool& pool_;
  ToProxy& proxy_;
  FromProxy in_;
  net::ProtoWriter out_;
  Phase phase_ = Phase::Headers;
  bool over_ = false;  // nothing more is said
  Nanos began_ = 0;

  Mutation to_engine_;
  std::vector<std::string> stripped_;  // names of headers that must not reach an engine
  std::string request_id_;             // made here, since the client sent none
  std::string target_model_;           // asked for by header; "" = as in the body

  dialect::BodyScanner scanner_;
  std::vector<Piece> held_;
  size_t held_bytes_ = 0;
  bool body_ended_ = false;
  bool trailers_wait_ = false;  // they came before the body's answer
  uint64_t body_bytes_ = 0;

  Wanted wanted_;
  Choice choice_;
  ModelSeries* series_ = nullptr;
  bool running_ = false;  // counted in series_

  bool response_began_ = false;
  bool streamed_ = false;
  bool first_bytes_seen_ = false;
  int status_ = 0;
  uint64_t response_bytes_ = 0;
  dialect::UsageSniffer sniffer_;
};

}  // namespace tweendeck::routing::picker

// gRPC over an HTTP/2 Exchange: messages in and out, and the status at the end.
//
// A service is a path with a function that makes a handler per call. Messages come whole; a call that is paused
// takes in no more than one stream window. Protocol: grpc/doc/PROTOCOL-HTTP2.md. Compression is refused, since
// none is ever offered. One thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "net/http2/session.h"

namespace tweendeck::net::http2 {

enum class GrpcStatus : uint8_t {
  Ok = 0,
  Cancelled = 1,
  Unknown = 2,
  InvalidArgument = 3,
  NotFound = 5,
  ResourceExhausted = 8,
  Unimplemented = 12,
  Internal = 13,
  Unavailable = 14,
};

// One received message. Its bytes stay in the connection's buffer unless they are taken.
class GrpcMessage {
 public:
  explicit GrpcMessage(std::string_view bytes) : bytes_(bytes) {}
  explicit GrpcMessage(std::shared_ptr<const std::string> owner) : bytes_(*owner), owner_(std::move(owner)) {}

  std::string_view bytes() const { return bytes_; }
  // Makes `part` of bytes() outlive this call; the copy, if one is needed, is of `part` only.
  std::shared_ptr<const std::string> keep(std::string_view& part) const;

 private:
  std::string_view bytes_;
  std::shared_ptr<const std::string> owner_;
};

class GrpcCall;

// Who answers one call. Owned by it.
class GrpcHandler {
 public:
  virtual ~GrpcHandler() = default;
  virtual void on_message(const GrpcMessage& message) = 0;
  virtual void on_half_close() = 0;  // the client sends no more
  virtual void on_drained() {}       // nothing that was sent is left in this call
  virtual void on_closed() = 0;      // the last call, whoever ended it
};

using GrpcFactory = std::function<std::unique_ptr<GrpcHandler>(GrpcCall&)>;

// What the calls of a server share.
struct GrpcShared {
  const Limits& limits;
  std::map<std::string, GrpcFactory, std::less<>> methods;  // by path: "/package.Service/Method"
  size_t partial_bytes = 0;                                 // of messages that are not yet complete
};

class GrpcCall final : public ExchangeHandler {
 public:
  GrpcCall(GrpcShared& shared, Exchange& exchange) : shared_(shared), exchange_(exchange) {}

  // What a Session needs to serve `shared`'s methods. An unknown one is answered Unimplemented.
  static Session::Factory factory(GrpcShared& shared);

  // One message, whole. The second form sends head, then a part of *owner, then tail.
  void send(std::string_view message) { send(message, nullptr, {}, {}); }
  void send(std::string_view head, OutQueue::Owner owner, std::string_view part, std::string_view tail);
  void finish(GrpcStatus status, std::string_view message = {});
  bool finished() const { return exchange_.finished(); }
  size_t unsent() const { return exchange_.out().size(); }
  // While paused, messages still come until the client has filled its window.
  void pause(bool paused);

 private:
  void on_data(std::string_view bytes) override;
  void on_end() override;
  void on_drained() override;
  void on_closed() override;
  bool begin_message(std::string_view& bytes);
  void take_in(size_t bytes);
  void drop_partial();

  GrpcShared& shared_;
  Exchange& exchange_;
  std::unique_ptr<GrpcHandler> handler_;
  bool paused_ = false;
  size_t owed_ = 0;  // bytes to be taken in when the pause ends

  static constexpr size_t kPrefixBytes = 5;
  char prefix_[kPrefixBytes];
  size_t prefix_size_ = 0;
  size_t message_size_ = 0;               // of the message whose prefix is complete
  std::shared_ptr<std::string> partial_;  // its bytes, when they come in several pieces
};

// grpc-message is percent-encoded.
std::string percent_encode(std::string_view text);

}  // namespace tweendeck::net::http2

// Server-side TLS: certificate and key for listeners, and one session per connection over its non-blocking
// socket.
//
// A TlsContext may be shared by the streams of one loop. TLS 1.2 or newer; OpenSSL's defaults otherwise.
#pragma once

#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

struct ssl_ctx_st;
struct ssl_st;

namespace tweendeck::net {

class TlsContext {
 public:
  // PEM files. Errors name the file: NotFound, PermissionDenied, InvalidArgument (malformed, or not a pair).
  static Result<std::shared_ptr<TlsContext>> load(const std::string& cert_file, const std::string& key_file);
  ~TlsContext();
  // Chooses this application protocol (ALPN) where a client offers it. Before the first session.
  void offer_protocol(std::string_view name);
  ssl_ctx_st* native() const { return context_; }

 private:
  explicit TlsContext(ssl_ctx_st* context) : context_(context) {}
  ssl_ctx_st* context_;
  std::string protocol_;  // as ALPN writes it: its length, then its name
};

class TlsSession {
 public:
  enum class Outcome : uint8_t { Done, WouldBlock, Eof, Broken };

  TlsSession(const TlsContext& context, int fd);
  ~TlsSession();
  TlsSession(const TlsSession&) = delete;
  TlsSession& operator=(const TlsSession&) = delete;

  // The handshake happens inside the first reads and writes. A write that would block must be repeated with
  // at least the same bytes.
  Outcome read(char* data, size_t size, size_t& done);
  Outcome write(const char* data, size_t size, size_t& done);
  void shutdown();  // sends close_notify, once, without waiting

 private:
  Outcome outcome(int result);
  ssl_st* ssl_;
};

}  // namespace tweendeck::net

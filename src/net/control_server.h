// HTTP/1.1 + JSON server on a unix socket: the daemon's local API. Low rate, blocking, one thread per
// connection.
//
//   ControlServer server;
//   server.on("GET", "/v1/deployments/{name}", [](const ControlRequest& r) -> Result<std::string> { ... });
//   server.on_stream("GET", "/v1/events", [](const ControlRequest& r, ControlStream& out) -> Status { ... });
//   server.start("/var/lib/tweendeck/tweendeck.sock");
//
// Routes are added before start(). Handlers run on connection threads, several at once; an exception in one
// becomes a 500. Only peers of the same user, or root, are served: the socket's mode is 0600 and each peer's
// credentials are checked. Errors are sent as {"error":{reason,message,hint}} with the reason's HTTP status.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"

namespace tweendeck::net {

struct ControlServerConfig {
  size_t max_connections = 64;  // at once; more are answered 429
  size_t max_streams = 32;      // of those, following events or logs
  size_t max_body_bytes = 4 << 20;
  int receive_timeout_s = 30;  // for a request that has begun, and between requests
  int send_timeout_s = 30;
};

struct ControlRequest {
  std::string method;
  std::string path;                                        // decoded, without the query
  std::map<std::string, std::string, std::less<>> params;  // of the pattern: {name}
  std::map<std::string, std::string, std::less<>> query;   // decoded
  std::string body;

  std::string_view param(std::string_view name) const;
  std::string_view query_or(std::string_view name, std::string_view fallback) const;
  Result<uint64_t> query_number(std::string_view name,
                                uint64_t fallback) const;  // InvalidArgument when malformed
};

// The answer of a streaming handler. Nothing is sent before the first write(), so a handler that fails before
// it is answered with its error.
class ControlStream {
 public:
  virtual ~ControlStream() = default;
  virtual void set_content_type(std::string_view type) = 0;  // default application/x-ndjson
  // False when the client has gone or the server stops: return then.
  virtual bool write(std::string_view data) = 0;
  // True when the client has gone or the server stops; cheap enough to ask between waits.
  virtual bool closed() = 0;
};

class ControlServer {
 public:
  using Handler = std::function<Result<std::string>(const ControlRequest&)>;  // the JSON of a 200
  using StreamHandler = std::function<Status(const ControlRequest&, ControlStream&)>;

  explicit ControlServer(ControlServerConfig config = {});
  ~ControlServer();  // stop()

  // Pattern segments in braces match one path segment: "/v1/logs/{replica}".
  void on(std::string method, std::string pattern, Handler handler);
  void on_stream(std::string method, std::string pattern, StreamHandler handler);

  // Binds (replacing a stale socket file that nobody answers on) and serves until stop(). Errors: StateLocked
  // when another process answers there, InvalidArgument for a path over 107 bytes, IoError, PermissionDenied.
  Status start(const std::string& socket_path);
  void stop();  // ends streams, waits for handlers, removes the socket file; idempotent

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tweendeck::net

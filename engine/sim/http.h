// A small HTTP/1.1 server on one thread: keep-alive, bounded headers and bodies, answers in one piece or
// streamed.
//
// The handler gets each request with its Connection and answers now or later through it: reply() once, or
// stream() with a Source that is asked for bytes whenever the socket can take more, so that a slow reader
// costs no memory. While an answer is due the socket is watched: a client that goes calls Pending::closed()
// at once. Everything runs on the io_context's thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace boost::asio {
class io_context;
}

namespace tweendeck::sim {

inline constexpr size_t kMaxHeaderBytes = 64 << 10;
inline constexpr size_t kMaxBodyBytes = 64 << 20;
inline constexpr size_t kMaxConnections = 4096;
inline constexpr size_t kMaxPieceBytes = 32 << 10;  // of a streamed answer, buffered per connection
inline constexpr int kIdleTimeoutS = 120;           // between requests, and for a request to arrive

struct HttpRequest {
  std::string method;
  std::string path;  // without the query
  std::string body;
};

// Work that a request has started and that its connection waits for.
class Pending {
 public:
  virtual ~Pending() = default;
  virtual void closed() = 0;  // the client went away before its answer was complete
};

class Source : public Pending {
 public:
  // Appends up to about kMaxPieceBytes of what is ready. False when the body is complete.
  virtual bool next(std::string& out) = 0;
};

class Connection {
 public:
  virtual ~Connection() = default;
  virtual void wait_for(std::shared_ptr<Pending> pending) = 0;  // before an answer that comes later
  virtual void reply(int status, std::string_view content_type, std::string body) = 0;
  virtual void stream(std::string_view content_type, std::shared_ptr<Source> source) = 0;
  virtual void wake() = 0;  // the source has more
};

using HttpHandler = std::function<void(HttpRequest, std::shared_ptr<Connection>)>;

class HttpServer {
 public:
  // Errors: IoError naming address and port.
  static Result<std::unique_ptr<HttpServer>> listen(boost::asio::io_context& io, const std::string& host,
                                                    uint16_t port, HttpHandler handler);
  ~HttpServer();
  void stop_accepting();
  size_t connections() const;

 private:
  struct Impl;
  explicit HttpServer(std::shared_ptr<Impl> impl);
  std::shared_ptr<Impl> impl_;
};

}  // namespace tweendeck::sim

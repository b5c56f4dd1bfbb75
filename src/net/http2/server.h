// A gRPC server on an EventLoop: listens, keeps connections, offers health, and ends without losing a call.
//
//   GrpcServer server(loop, limits, clock);
//   server.offer("/package.Service/Method", [](GrpcCall& call) { return std::make_unique<Handler>(call); });
//   server.listen({"127.0.0.1", 9002}, tls);       // may be repeated: several addresses, one set of services
//
// Plain connections are HTTP/2 from the first byte (prior knowledge). Loop thread only, or before the loop runs.
#pragma once

#include <memory>
#include <unordered_map>
#include <vector>

#include "net/http2/connection.h"
#include "net/http2/grpc.h"
#include "net/http2/health.h"
#include "net/listener.h"

namespace tweendeck::net::http2 {

class GrpcServer {
 public:
  static constexpr size_t kMaxConnections = 1024;

  GrpcServer(EventLoop& loop, Limits limits, const Clock& clock);
  ~GrpcServer();
  GrpcServer(const GrpcServer&) = delete;
  GrpcServer& operator=(const GrpcServer&) = delete;

  void offer(std::string method, GrpcFactory factory);
  Health& health() { return health_; }

  // Port 0 takes a free one; returns the port. Errors: those of Listener::open.
  Result<uint16_t> listen(const Address& address, std::shared_ptr<TlsContext> tls);
  // No new connections; clients are told to open streams elsewhere, and calls that are here go on.
  void begin_drain();
  void close_all();
  size_t connections() const { return connections_.size(); }
  size_t calls() const;

 private:
  struct Door {
    std::unique_ptr<Listener> listener;
    std::shared_ptr<TlsContext> tls;
  };
  void accept(Fd fd, const TlsContext* tls);
  void sweep();

  EventLoop& loop_;
  const Limits limits_;
  const Clock& clock_;
  GrpcShared shared_;
  Health health_;
  std::vector<Door> doors_;
  std::unordered_map<Connection*, std::unique_ptr<Connection>> connections_;
  EventLoop::TimerId sweep_timer_ = 0;
  EventLoop::TimerId drain_timer_ = 0;
};

}  // namespace tweendeck::net::http2

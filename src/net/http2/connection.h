// A Session on a socket of an EventLoop. Loop thread only; owned by its GrpcServer.
#pragma once

#include <functional>

#include "net/http2/session.h"
#include "net/stream.h"

namespace tweendeck::net::http2 {

class Connection final : StreamHandler {
 public:
  using OnClosed = std::function<void(Connection*)>;

  Connection(EventLoop& loop, const Limits& limits, Session::Factory factory, OnClosed on_closed, Nanos now);

  Status open(Fd fd, const TlsContext* tls);
  void close();
  void sweep(Nanos now);  // pings, and ends what is silent
  void announce_end();    // see Session
  void refuse_streams();
  size_t open_exchanges() const { return session_.open(); }

 private:
  void flush_later();
  void on_readable() override;
  void on_writable() override;
  void flush();

  const Limits& limits_;
  OnClosed on_closed_;
  Stream stream_;
  bool busy_ = false;  // inside of the session: flush() follows
  bool flush_asked_ = false;
  bool closed_ = false;
  Session session_;
  OutQueue out_;
  Nanos opened_at_;
  Nanos heard_at_;
  Nanos pinged_at_ = 0;  // 0: no ping is on its way
  bool heard_ = false;   // since the last sweep
};

}  // namespace tweendeck::net::http2

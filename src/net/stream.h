// A connected TCP socket on an EventLoop, plain or TLS, with its input buffer. Loop thread only.
//
// Readiness is kept as flags, set by edges and cleared when the kernel has no more, so a message costs one
// recv and one send. The owner's handler is told of edges; it then calls fill() and write() itself, and
// leaves bytes where they are to push back on the sender.
#pragma once

#include <sys/uio.h>

#include <memory>
#include <string_view>

#include "net/event_loop.h"
#include "net/tls.h"

namespace tweendeck::net {

class StreamHandler {
 public:
  virtual void on_readable() = 0;
  virtual void on_writable() = 0;  // after a write() that took less than all, and when a connect() is done

 protected:
  ~StreamHandler() = default;
};

class Stream final : EventSource {
 public:
  Stream(EventLoop& loop, StreamHandler& handler, size_t buffer_bytes);
  ~Stream();
  Stream(const Stream&) = delete;
  Stream& operator=(const Stream&) = delete;

  Status adopt(Fd fd, const TlsContext* tls);  // an accepted, non-blocking socket
  // Ends in on_writable(), or in on_readable() with broken(); already connected when !connecting() on return.
  Status connect(const std::string& ipv4, uint16_t port);
  bool connecting() const { return connecting_; }
  void close();
  void shutdown_write();
  bool is_open() const { return static_cast<bool>(fd_); }

  // Input. fill() reads once into the buffer's free space.
  enum class Fill : uint8_t { Data, WouldBlock, Full, End, Broken };
  Fill fill();
  std::string_view input() const { return {buffer_.get() + begin_, end_ - begin_}; }
  void consume(size_t bytes);
  bool readable() const { return readable_; }  // fill() may yield more at once
  bool peer_closed() const { return peer_closed_; }
  void call_again();  // on_readable() once more, after other sockets had their turn

  // Output: how many bytes the socket took now; less than all means on_writable() will come, or broken().
  size_t write(const iovec* parts, int count);
  size_t write(std::string_view data);
  bool writable() const { return writable_; }
  bool broken() const { return broken_; }

 private:
  void on_events(uint32_t events) override;
  size_t write_tls(const iovec* parts, int count);

  EventLoop& loop_;
  StreamHandler& handler_;
  Fd fd_;
  std::unique_ptr<TlsSession> tls_;
  std::unique_ptr<char[]> buffer_;
  size_t capacity_;
  size_t begin_ = 0, end_ = 0;
  bool connecting_ = false;
  bool readable_ = false;
  bool writable_ = true;
  bool peer_closed_ = false;  // the peer will send no more, though bytes may still wait in the kernel
  bool broken_ = false;
};

}  // namespace tweendeck::net

// Listens on an IPv4 address and hands accepted, non-blocking sockets to a callback on the loop.
#pragma once

#include <functional>
#include <string>

#include "net/event_loop.h"

namespace tweendeck::net {

struct Address {
  std::string ip;  // IPv4 literal
  uint16_t port = 0;
};

// "127.0.0.1:8080", "localhost:8080" or ":8080" (= 0.0.0.0). Error InvalidArgument.
Result<Address> parse_address(std::string_view text);
bool is_loopback(const Address& address);
// Whether a Listener could open the address now. Errors: those of Listener::open.
Status check_free(const Address& address);

class Listener final : EventSource {
 public:
  using Accept = std::function<void(Fd)>;

  explicit Listener(EventLoop& loop) : loop_(loop) {}
  ~Listener() { close(); }
  Listener(const Listener&) = delete;
  Listener& operator=(const Listener&) = delete;

  // Port 0 takes a free one; port() tells which. May be called before the loop runs.
  Status open(const Address& address, Accept accept);
  uint16_t port() const { return port_; }
  void close();

 private:
  void on_events(uint32_t events) override;

  EventLoop& loop_;
  Accept accept_;
  Fd fd_;
  uint16_t port_ = 0;
  EventLoop::TimerId retry_timer_ = 0;
};

}  // namespace tweendeck::net

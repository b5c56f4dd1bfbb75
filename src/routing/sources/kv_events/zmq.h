// ZeroMQ sockets that close themselves, for one thread. Only what the event sources need; the C API throws
// nothing.
#pragma once

#include <zmq.h>

#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace tweendeck::routing::sources {

class ZmqSocket {
 public:
  ZmqSocket() = default;
  ZmqSocket(void* context, int type) : socket_(zmq_socket(context, type)) {}
  ~ZmqSocket() { close(); }
  ZmqSocket(ZmqSocket&& other) noexcept : socket_(std::exchange(other.socket_, nullptr)) {}
  ZmqSocket& operator=(ZmqSocket&& other) noexcept {
    std::swap(socket_, other.socket_);
    return *this;
  }

  explicit operator bool() const { return socket_ != nullptr; }
  void* get() const { return socket_; }
  void set(int option, int value) { zmq_setsockopt(socket_, option, &value, sizeof value); }
  void set_int64(int option, int64_t value) { zmq_setsockopt(socket_, option, &value, sizeof value); }
  void subscribe(std::string_view topic) {
    zmq_setsockopt(socket_, ZMQ_SUBSCRIBE, topic.data(), topic.size());
  }
  Status connect(const std::string& endpoint);
  Status bind(const std::string& endpoint);
  bool send(std::string_view frame, bool more);  // false: the queue is full
  void close() {
    if (socket_ != nullptr) zmq_close(std::exchange(socket_, nullptr));
  }

 private:
  void* socket_ = nullptr;
};

// A message of several frames; its buffers are used again.
class ZmqMessage {
 public:
  ~ZmqMessage();
  ZmqMessage() = default;
  ZmqMessage(const ZmqMessage&) = delete;
  ZmqMessage& operator=(const ZmqMessage&) = delete;

  bool receive(ZmqSocket& socket);  // false: none is waiting
  size_t size() const { return used_; }
  std::string_view operator[](size_t i) const;

 private:
  static constexpr size_t kMaxFrames = 8;  // further ones are dropped
  void clear();
  zmq_msg_t frames_[kMaxFrames];
  size_t used_ = 0;
};

// Tells when a socket's connections come and go.
class ZmqMonitor {
 public:
  enum class News : uint8_t { Connected, Disconnected };
  ZmqMonitor() = default;
  ZmqMonitor(void* context, ZmqSocket& watched);
  ZmqSocket& socket() { return socket_; }
  std::optional<News> next();

 private:
  ZmqSocket socket_;
};

}  // namespace tweendeck::routing::sources

// For the gateway's tests: a replica that follows a script, and a client that sees every byte. Blocking,
// loopback.
#pragma once

#include <arpa/inet.h>
#include <fmt/format.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <atomic>
#include <functional>
#include <list>
#include <mutex>
#include <string>
#include <thread>

#include "net/fd.h"

namespace tweendeck::routing::gateway {

inline sockaddr_in loopback(uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  address.sin_port = htons(port);
  return address;
}

// One end of a connection. Reads give up after 20 s, so that a broken test ends.
class Wire {
 public:
  explicit Wire(net::Fd fd) : fd_(std::move(fd)) {
    timeval limit{20, 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));
  }
  static Wire connect(uint16_t port) {
    net::Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address = loopback(port);
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    return Wire(std::move(fd));
  }

  bool send(std::string_view data) {
    while (!data.empty()) {
      ssize_t n = ::send(fd_.get(), data.data(), data.size(), MSG_NOSIGNAL);
      if (n <= 0) return false;
      data.remove_prefix(static_cast<size_t>(n));
    }
    return true;
  }
  // Until the stream holds `end`; what came after it stays for the next read. "" when the peer closes first.
  std::string read_until(std::string_view end) {
    while (true) {
      size_t at = buffer_.find(end);
      if (at != std::string::npos) return take(at + end.size());
      if (!more()) return "";
    }
  }
  std::string read_bytes(size_t size) {
    while (buffer_.size() < size) {
      if (!more()) return "";
    }
    return take(size);
  }
  std::string read_all() {
    while (more()) {
    }
    return take(buffer_.size());
  }
  // One message with Content-Length or without a body; head and body.
  std::string read_message() {
    std::string head = read_until("\r\n\r\n");
    std::string lower = head;
    for (char& c : lower) c = static_cast<char>(std::tolower(c));
    size_t at = lower.find("content-length: ");
    if (at == std::string::npos) return head;
    return head + read_bytes(std::stoul(lower.substr(at + 16)));
  }
  bool closed_by_peer() { return buffer_.empty() && !more() && buffer_.empty(); }
  void close() { fd_.reset(); }
  void reset() {
    linger hard{1, 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_LINGER, &hard, sizeof(hard));
    fd_.reset();
  }
  int fd() const { return fd_.get(); }

 private:
  bool more() {
    char data[65536];
    ssize_t n = ::recv(fd_.get(), data, sizeof(data), 0);
    if (n <= 0) return false;
    buffer_.append(data, static_cast<size_t>(n));
    return true;
  }
  std::string take(size_t size) {
    std::string out = buffer_.substr(0, size);
    buffer_.erase(0, size);
    return out;
  }
  net::Fd fd_;
  std::string buffer_;
};

inline std::string ok_answer(std::string_view body) {
  return fmt::format("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{}",
                     body.size(), body);
}

// Runs `script` on a thread of its own for every connection it accepts.
class ScriptedReplica {
 public:
  using Script = std::function<void(Wire&)>;

  explicit ScriptedReplica(Script script) : script_(std::move(script)) {
    fd_ = net::Fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address = loopback(0);
    socklen_t size = sizeof(address);
    EXPECT_EQ(::bind(fd_.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(::listen(fd_.get(), 512), 0);
    ::getsockname(fd_.get(), reinterpret_cast<sockaddr*>(&address), &size);
    port = ntohs(address.sin_port);
    thread_ = std::thread([this] { accept_loop(); });
  }
  ~ScriptedReplica() { stop(); }

  // As kill -9 does: the port refuses, connections end.
  void stop() {
    if (!thread_.joinable()) return;
    ::shutdown(fd_.get(), SHUT_RDWR);
    thread_.join();
    fd_.reset();
    std::lock_guard lock(mutex_);
    for (auto& connection : connections_) ::shutdown(connection.fd, SHUT_RDWR);
    for (auto& connection : connections_) connection.thread.join();
    connections_.clear();
  }

  uint16_t port = 0;
  std::atomic<int> accepted{0};

  // Answers each request with its own body.
  static void echo(Wire& wire) {
    while (true) {
      std::string request = wire.read_message();
      if (request.empty()) return;
      wire.send(ok_answer(request.substr(request.find("\r\n\r\n") + 4)));
    }
  }

 private:
  struct Connection {
    int fd;
    std::thread thread;
  };
  void accept_loop() {
    while (true) {
      net::Fd fd(::accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC));
      if (!fd) return;
      ++accepted;
      std::lock_guard lock(mutex_);
      int keep = ::dup(fd.get());
      kept_.emplace_back(keep);
      connections_.push_back({keep, std::thread([this, wire = std::make_shared<Wire>(std::move(fd)), keep] {
                                script_(*wire);
                                ::shutdown(keep, SHUT_RDWR);
                                wire->close();
                              })});
    }
  }

  Script script_;
  net::Fd fd_;
  std::thread thread_;
  std::mutex mutex_;
  std::list<net::Fd> kept_;
  std::list<Connection> connections_;
};

}  // namespace tweendeck::routing::gateway

// What the control server writes to a connection: whole answers, errors, chunked streams. Blocking.
#pragma once

#include <atomic>
#include <string>
#include <string_view>

#include "base/result.h"
#include "net/control_server.h"

namespace tweendeck::net {

// False when the peer has gone or does not read.
bool send_all(int fd, std::string_view data);
bool send_answer(int fd, int status, std::string_view body, bool keep_alive);
bool send_error(int fd, const Error& error, bool keep_alive);

// Answers a connection that gets no thread. Its request is taken in first, for a moment: closing with unread
// bytes would reset the connection before the peer has seen the answer.
void turn_away(int fd, const Error& error);

// Chunked answer of a streaming handler.
class StreamWriter final : public ControlStream {
 public:
  StreamWriter(int fd, const std::atomic<bool>& stopping) : fd_(fd), stopping_(stopping) {}

  void set_content_type(std::string_view type) override { type_ = type; }
  bool started() const { return started_; }

  bool write(std::string_view data) override;
  bool closed() override;
  void finish();  // after the last write

 private:
  int fd_;
  const std::atomic<bool>& stopping_;
  std::string type_ = "application/x-ndjson";
  bool started_ = false;
  bool broken_ = false;
};

}  // namespace tweendeck::net

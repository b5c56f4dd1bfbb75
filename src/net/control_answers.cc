#include "net/control_answers.h"

#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <cerrno>

#include "net/http1.h"
#include "net/json.h"

namespace tweendeck::net {
namespace {

constexpr int kTurnAwayWaitUs = 200'000;
constexpr size_t kIgnoredBytes = 16 * 1024;

}  // namespace

bool send_all(int fd, std::string_view data) {
  while (!data.empty()) {
    ssize_t sent = ::send(fd, data.data(), data.size(), MSG_NOSIGNAL);
    if (sent < 0 && errno == EINTR) continue;
    if (sent <= 0) return false;
    data.remove_prefix(static_cast<size_t>(sent));
  }
  return true;
}

bool send_answer(int fd, int status, std::string_view body, bool keep_alive) {
  std::string answer = fmt::format(
      "HTTP/1.1 {} {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\nConnection: {}\r\n\r\n",
      status, status_text(status), body.size(), keep_alive ? "keep-alive" : "close");
  answer += body;
  return send_all(fd, answer);
}

bool send_error(int fd, const Error& error, bool keep_alive) {
  return send_answer(fd, http_status(error.reason), error_json(error), keep_alive);
}

void turn_away(int fd, const Error& error) {
  timeval moment{0, kTurnAwayWaitUs};
  ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &moment, sizeof(moment));
  char ignored[kIgnoredBytes];
  (void)!::recv(fd, ignored, sizeof(ignored), 0);
  send_error(fd, error, false);
}

bool StreamWriter::write(std::string_view data) {
  if (broken_ || stopping_) return false;
  std::string out;
  if (!started_) {
    started_ = true;
    out = fmt::format(
        "HTTP/1.1 200 OK\r\nContent-Type: {}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n",
        type_);
  }
  if (!data.empty()) out += fmt::format("{:x}\r\n{}\r\n", data.size(), data);
  broken_ = !send_all(fd_, out);
  return !broken_;
}

bool StreamWriter::closed() {
  if (broken_ || stopping_) return true;
  pollfd poller{fd_, POLLRDHUP, 0};
  broken_ = ::poll(&poller, 1, 0) > 0 && (poller.revents & (POLLRDHUP | POLLHUP | POLLERR)) != 0;
  return broken_;
}

void StreamWriter::finish() {
  write("");  // the head, when nothing was written
  if (!broken_) send_all(fd_, "0\r\n\r\n");
}

}  // namespace tweendeck::net

#include "net/stream.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

namespace tweendeck::net {

Stream::Stream(EventLoop& loop, StreamHandler& handler, size_t buffer_bytes)
    : loop_(loop), handler_(handler), buffer_(new char[buffer_bytes]), capacity_(buffer_bytes) {}

Stream::~Stream() {
  close();
}

Status Stream::adopt(Fd fd, const TlsContext* tls) {
  fd_ = std::move(fd);
  int on = 1;
  ::setsockopt(fd_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  if (tls != nullptr) tls_ = std::make_unique<TlsSession>(*tls, fd_.get());
  return loop_.add(fd_.get(), this);
}

Status Stream::connect(const std::string& ipv4, uint16_t port) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  if (::inet_pton(AF_INET, ipv4.c_str(), &address.sin_addr) != 1) {
    return fail(Reason::InvalidArgument, fmt::format("{} is no IPv4 address", ipv4));
  }
  fd_ = Fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd_) return fail(system_error(errno, "create a socket"));
  int on = 1;
  ::setsockopt(fd_.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
  int result = ::connect(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address));
  if (result != 0 && errno != EINPROGRESS) {
    // Told like any later failure, so that a caller has one path for it.
    broken_ = true;
    loop_.call_again(this);
    return {};
  }
  connecting_ = result != 0;
  writable_ = !connecting_;
  return loop_.add(fd_.get(), this);
}

void Stream::close() {
  if (!fd_) return;
  loop_.remove(fd_.get(), this);
  tls_.reset();
  fd_.reset();
  readable_ = writable_ = connecting_ = false;
}

void Stream::shutdown_write() {
  if (!fd_) return;
  if (tls_) tls_->shutdown();
  ::shutdown(fd_.get(), SHUT_WR);
}

void Stream::on_events(uint32_t events) {
  if (events & EPOLLRDHUP) peer_closed_ = true;
  bool told_writable = !writable_ && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) != 0;
  bool told_readable =
      events == 0 || tls_ != nullptr || (events & (EPOLLIN | EPOLLRDHUP | EPOLLERR | EPOLLHUP)) != 0;
  if (connecting_ && told_writable) {
    int error = 0;
    socklen_t size = sizeof(error);
    ::getsockopt(fd_.get(), SOL_SOCKET, SO_ERROR, &error, &size);
    broken_ = error != 0;
    connecting_ = false;
  }
  if (told_writable) writable_ = true;
  if (told_readable) readable_ = true;
  if (told_writable) {
    handler_.on_writable();
    if (!fd_) return;  // the handler closed this stream; its owner may be retired but lives
  }
  if (told_readable) handler_.on_readable();
}

void Stream::call_again() {
  loop_.call_again(this);
}

Stream::Fill Stream::fill() {
  if (!fd_ || broken_) return Fill::Broken;
  if (begin_ == end_) begin_ = end_ = 0;
  if (end_ == capacity_ && begin_ > 0) {
    std::memmove(buffer_.get(), buffer_.get() + begin_, end_ - begin_);
    end_ -= begin_;
    begin_ = 0;
  }
  size_t space = capacity_ - end_;
  if (space == 0) return Fill::Full;
  size_t got = 0;
  if (tls_) {
    switch (tls_->read(buffer_.get() + end_, space, got)) {
      case TlsSession::Outcome::Done:
        break;
      case TlsSession::Outcome::WouldBlock:
        readable_ = false;
        return Fill::WouldBlock;
      case TlsSession::Outcome::Eof:
        peer_closed_ = true;
        return Fill::End;
      case TlsSession::Outcome::Broken:
        broken_ = true;
        return Fill::Broken;
    }
  } else {
    ssize_t result = ::recv(fd_.get(), buffer_.get() + end_, space, 0);
    if (result == 0) return peer_closed_ = true, Fill::End;
    if (result < 0) {
      if (errno == EINTR) return Fill::WouldBlock;  // readable_ stays set
      if (errno == EAGAIN) return readable_ = false, Fill::WouldBlock;
      return broken_ = true, Fill::Broken;
    }
    got = static_cast<size_t>(result);
    // A short read has emptied the socket: the next byte makes a new edge. Not so when the end is due.
    if (got < space && !peer_closed_) readable_ = false;
  }
  end_ += got;
  return Fill::Data;
}

void Stream::consume(size_t bytes) {
  begin_ += bytes;
}

size_t Stream::write(std::string_view data) {
  iovec part{const_cast<char*>(data.data()), data.size()};
  return write(&part, 1);
}

size_t Stream::write(const iovec* parts, int count) {
  if (!fd_ || broken_ || !writable_) return 0;
  if (tls_) return write_tls(parts, count);
  size_t total = 0;
  for (int i = 0; i < count; ++i) total += parts[i].iov_len;
  if (total == 0) return 0;
  msghdr message{};
  message.msg_iov = const_cast<iovec*>(parts);
  message.msg_iovlen = static_cast<size_t>(count);
  ssize_t sent;
  do {
    sent = ::sendmsg(fd_.get(), &message, MSG_NOSIGNAL);
  } while (sent < 0 && errno == EINTR);
  if (sent < 0) {
    if (errno == EAGAIN) {
      writable_ = false;
    } else {
      broken_ = true;
    }
    return 0;
  }
  if (static_cast<size_t>(sent) < total) writable_ = false;
  return static_cast<size_t>(sent);
}

size_t Stream::write_tls(const iovec* parts, int count) {
  size_t total = 0;
  for (int i = 0; i < count; ++i) {
    std::string_view rest(static_cast<const char*>(parts[i].iov_base), parts[i].iov_len);
    while (!rest.empty()) {
      size_t done = 0;
      switch (tls_->write(rest.data(), rest.size(), done)) {
        case TlsSession::Outcome::Done:
          break;
        case TlsSession::Outcome::WouldBlock:
          writable_ = false;
          return total;
        default:
          broken_ = true;
          return total;
      }
      total += done;
      rest.remove_prefix(done);
    }
  }
  return total;
}

}  // namespace tweendeck::net

#include "net/listener.h"

#include <arpa/inet.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <charconv>

#include "base/log.h"

namespace tweendeck::net {
namespace {

constexpr int kBacklog = 1024;
constexpr Nanos kRetryWithoutFds = 100 * kMillisecond;

std::unexpected<Error> bind_error(int why, const Address& address) {
  if (why == EADDRINUSE) {
    return fail(Reason::AlreadyExists,
                fmt::format("{}:{} is in use by another program", address.ip, address.port),
                "it may be another tweendeck: stop it, or choose another address with --listen");
  }
  return fail(system_error(why, fmt::format("listen on {}:{}", address.ip, address.port)));
}

// A socket that has the address and does not listen yet.
Result<Fd> bind_to(const Address& address) {
  sockaddr_in socket_address{};
  socket_address.sin_family = AF_INET;
  socket_address.sin_port = htons(address.port);
  if (::inet_pton(AF_INET, address.ip.c_str(), &socket_address.sin_addr) != 1) {
    return fail(Reason::InvalidArgument, fmt::format("{} is no IPv4 address", address.ip));
  }
  Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return fail(system_error(errno, "create a socket"));
  int on = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
  if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&socket_address), sizeof(socket_address)) != 0) {
    return bind_error(errno, address);
  }
  return fd;
}

}  // namespace

Result<Address> parse_address(std::string_view text) {
  auto bad = [&] {
    return fail(Reason::InvalidArgument, fmt::format("{} is no IPv4 address with a port", text),
                "write it as 127.0.0.1:8080");
  };
  size_t colon = text.rfind(':');
  if (colon == std::string_view::npos) return bad();
  Address address{std::string(text.substr(0, colon)), 0};
  if (address.ip.empty()) address.ip = "0.0.0.0";
  if (address.ip == "localhost") address.ip = "127.0.0.1";
  std::string_view port = text.substr(colon + 1);
  auto [end, error] = std::from_chars(port.data(), port.data() + port.size(), address.port);
  in_addr parsed{};
  if (error != std::errc() || end != port.data() + port.size() || port.empty() ||
      ::inet_pton(AF_INET, address.ip.c_str(), &parsed) != 1) {
    return bad();
  }
  return address;
}

bool is_loopback(const Address& address) {
  return address.ip.starts_with("127.");
}

Status check_free(const Address& address) {
  Result<Fd> fd = bind_to(address);
  if (!fd) return fail(fd.error());
  return {};
}

Status Listener::open(const Address& address, Accept accept) {
  Result<Fd> fd = bind_to(address);
  if (!fd) return fail(fd.error());
  if (::listen(fd->get(), kBacklog) != 0) return bind_error(errno, address);
  sockaddr_in socket_address{};
  socklen_t size = sizeof(socket_address);
  ::getsockname(fd->get(), reinterpret_cast<sockaddr*>(&socket_address), &size);
  port_ = ntohs(socket_address.sin_port);
  accept_ = std::move(accept);
  fd_ = std::move(*fd);
  return loop_.add(fd_.get(), this);
}

void Listener::close() {
  if (!fd_) return;
  loop_.remove(fd_.get(), this);
  loop_.cancel(retry_timer_);
  fd_.reset();
}

void Listener::on_events(uint32_t) {
  while (fd_) {
    Fd accepted(::accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (accepted) {
      accept_(std::move(accepted));
      continue;
    }
    if (errno == EINTR || errno == ECONNABORTED) continue;
    if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
      log::warning("Could not accept a connection",
                   {{"reason", Reason::Overloaded}, {"cause", "out of descriptors"}});
      retry_timer_ = loop_.after(kRetryWithoutFds, [this] { on_events(0); });
    }
    return;
  }
}

}  // namespace tweendeck::net

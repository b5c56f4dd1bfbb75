#include "net/control_server.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <list>
#include <mutex>
#include <thread>
#include <vector>

#include "base/log.h"
#include "net/control_answers.h"
#include "net/control_routes.h"
#include "net/fd.h"
#include "net/http1.h"

namespace tweendeck::net {
namespace {

constexpr size_t kReadBytes = 16 * 1024;
constexpr int kListenBacklog = 64;

bool peer_allowed(int fd) {
  ucred peer{};
  socklen_t size = sizeof(peer);
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) != 0) return false;
  return peer.uid == 0 || peer.uid == ::geteuid();
}

Result<sockaddr_un> socket_address(const std::string& path) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof(address.sun_path)) {
    return fail(
        Reason::InvalidArgument,
        fmt::format("socket path of {} bytes; it may have {}", path.size(), sizeof(address.sun_path) - 1),
        "choose a shorter --state-dir");
  }
  std::memcpy(address.sun_path, path.data(), path.size());
  return address;
}

}  // namespace

struct ControlServer::Impl {
  ControlServerConfig config;
  std::vector<ControlRoute> routes;
  std::string socket_path;
  Fd listener;
  Fd wake_read, wake_write;  // a byte in this pipe ends the accept loop
  std::thread acceptor;
  std::atomic<bool> stopping{false};
  std::atomic<size_t> streams{0};

  struct Connection {
    Fd fd;
    std::thread thread;
    bool done = false;
  };
  std::mutex mutex;
  std::list<Connection> connections;

  void accept_loop();
  void admit(Fd fd);
  void reap(bool all);
  void serve(int fd);
  // One request from `buffer` and the socket. False when the connection is to be closed.
  bool serve_one(int fd, std::string& buffer);
  bool read_more(int fd, std::string& buffer) const;
  bool answer(int fd, const RequestHead& head, std::string body);
  bool run_stream(int fd, const ControlRoute& route, const ControlRequest& request);
};

void ControlServer::Impl::accept_loop() {
  while (!stopping) {
    pollfd pollers[2] = {{listener.get(), POLLIN, 0}, {wake_read.get(), POLLIN, 0}};
    if (::poll(pollers, 2, -1) < 0 && errno != EINTR) break;
    if (stopping || pollers[1].revents != 0) break;
    if (pollers[0].revents == 0) continue;
    Fd fd(::accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
    reap(false);
    if (fd) {
      admit(std::move(fd));
    } else if (errno == EMFILE || errno == ENFILE) {
      log::warning("Refused a local connection",
                   {{"reason", Reason::Overloaded}, {"cause", "no file descriptors"}});
      ::poll(nullptr, 0, 100);  // the listener stays readable; do not spin
    }
  }
}

void ControlServer::Impl::admit(Fd fd) {
  timeval receive{config.receive_timeout_s, 0};
  timeval send{config.send_timeout_s, 0};
  ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &receive, sizeof(receive));
  ::setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &send, sizeof(send));
  if (!peer_allowed(fd.get())) {
    return turn_away(fd.get(),
                     {Reason::PermissionDenied, "the local API serves its own user and root only", ""});
  }
  std::lock_guard lock(mutex);
  if (connections.size() >= config.max_connections) {
    return turn_away(
        fd.get(), {Reason::Overloaded, fmt::format("{} local connections are open", config.max_connections),
                   "close some of them"});
  }
  Connection& connection = connections.emplace_back();
  connection.fd = std::move(fd);
  connection.thread = std::thread([this, &connection] {
    serve(connection.fd.get());
    std::lock_guard done_lock(mutex);
    ::shutdown(connection.fd.get(), SHUT_RDWR);  // the peer sees the end now, not when the thread is reaped
    connection.done = true;
  });
}

void ControlServer::Impl::reap(bool all) {
  std::list<Connection> finished;
  {
    std::lock_guard lock(mutex);
    for (auto it = connections.begin(); it != connections.end();) {
      auto next = std::next(it);
      if (all || it->done) finished.splice(finished.end(), connections, it);
      it = next;
    }
  }
  for (Connection& connection : finished) connection.thread.join();
}

void ControlServer::Impl::serve(int fd) {
  std::string buffer;
  while (!stopping && serve_one(fd, buffer)) {
  }
}

bool ControlServer::Impl::read_more(int fd, std::string& buffer) const {
  size_t before = buffer.size();
  buffer.resize(before + kReadBytes);
  ssize_t got;
  do {
    got = ::recv(fd, buffer.data() + before, kReadBytes, 0);
  } while (got < 0 && errno == EINTR);
  buffer.resize(before + (got > 0 ? static_cast<size_t>(got) : 0));
  return got > 0;
}

bool ControlServer::Impl::serve_one(int fd, std::string& buffer) {
  HttpLimits limits;
  size_t scanned = 0;
  size_t head_bytes = 0;
  while (head_bytes == 0) {
    auto size = head_size(buffer, scanned, limits);
    if (!size) return send_error(fd, size.error(), false), false;
    head_bytes = *size;
    if (head_bytes == 0 && !read_more(fd, buffer)) return false;
  }
  std::string head_text = buffer.substr(0, head_bytes);
  buffer.erase(0, head_bytes);
  RequestHead head;
  if (auto ok = parse_request_head(head_text, limits, head); !ok)
    return send_error(fd, ok.error(), false), false;
  if (head.expect_continue && !send_all(fd, "HTTP/1.1 100 Continue\r\n\r\n")) return false;

  std::string body;
  BodyReader reader(head, limits);
  while (!reader.done()) {
    if (buffer.empty() && !read_more(fd, buffer)) return false;
    BodyReader::Piece piece;
    if (!reader.next(buffer, piece)) {
      return send_error(fd, {Reason::MalformedRequest, reader.error(), ""}, false), false;
    }
    body += piece.content;
    buffer.erase(0, piece.consumed);
    if (body.size() > config.max_body_bytes) {
      send_error(fd,
                 {Reason::BodyTooLarge, fmt::format("the body passes {} bytes", config.max_body_bytes),
                  "apply fewer deployments at once"},
                 false);
      return false;
    }
  }
  return answer(fd, head, std::move(body)) && head.keep_alive;
}

bool ControlServer::Impl::answer(int fd, const RequestHead& head, std::string body) {
  ControlRequest request;
  request.method = head.method;
  request.body = std::move(body);
  std::vector<std::string> segments;
  if (auto ok = parse_target(head.target, request, segments); !ok)
    return send_error(fd, ok.error(), head.keep_alive);

  bool path_known = false;
  for (const ControlRoute& route : routes) {
    if (!matches(route, segments, request)) continue;
    path_known = true;
    if (route.method != request.method) continue;
    if (route.stream) return run_stream(fd, route, request);
    Result<std::string> result;
    try {
      result = route.handler(request);
    } catch (const std::exception& e) {
      log::error("Handler of the local API threw", {{"path", request.path}, {"what", e.what()}});
      result =
          fail(Reason::Internal, fmt::format("{} {} failed: {}", request.method, request.path, e.what()));
    }
    if (!result) return send_error(fd, result.error(), head.keep_alive);
    return send_answer(fd, 200, *result, head.keep_alive);
  }
  Error error{path_known ? Reason::MethodNotAllowed : Reason::NotFound,
              fmt::format("{} {} is not part of the local API", request.method, request.path),
              "the program may be older or newer than the daemon; see `tweendeck version`"};
  return send_error(fd, error, head.keep_alive);
}

bool ControlServer::Impl::run_stream(int fd, const ControlRoute& route, const ControlRequest& request) {
  if (streams.fetch_add(1) >= config.max_streams) {
    --streams;
    Error error{Reason::Overloaded, fmt::format("{} streams are open", config.max_streams),
                "close some of them"};
    return send_error(fd, error, true);
  }
  StreamWriter writer(fd, stopping);
  Status status;
  try {
    status = route.stream(request, writer);
  } catch (const std::exception& e) {
    log::error("Stream of the local API threw", {{"path", request.path}, {"what", e.what()}});
    status = fail(Reason::Internal, fmt::format("{} failed: {}", request.path, e.what()));
  }
  --streams;
  if (!status && !writer.started()) return send_error(fd, status.error(), true);
  // After the first byte a failure can only be told by an answer that ends without its last chunk.
  if (status) writer.finish();
  return false;
}

ControlServer::ControlServer(ControlServerConfig config) : impl_(std::make_unique<Impl>()) {
  impl_->config = config;
}
ControlServer::~ControlServer() {
  stop();
}

void ControlServer::on(std::string method, std::string pattern, Handler handler) {
  impl_->routes.push_back({std::move(method), segments_of(pattern), std::move(handler), nullptr});
}

void ControlServer::on_stream(std::string method, std::string pattern, StreamHandler handler) {
  impl_->routes.push_back({std::move(method), segments_of(pattern), nullptr, std::move(handler)});
}

Status ControlServer::start(const std::string& socket_path) {
  auto address = socket_address(socket_path);
  if (!address) return fail(address.error());
  auto* generic = reinterpret_cast<const sockaddr*>(&*address);
  Fd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!probe) return fail(system_error(errno, "create a unix socket"));
  if (::connect(probe.get(), generic, sizeof(*address)) == 0) {
    return fail(Reason::StateLocked, fmt::format("another process answers on {}", socket_path),
                "stop it with `tweendeck down`, or choose another --state-dir");
  }
  if (errno == ECONNREFUSED && ::unlink(socket_path.c_str()) != 0 && errno != ENOENT) {
    return fail(system_error(errno, fmt::format("remove the stale socket {}", socket_path)));
  }

  Fd listener(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  if (!listener) return fail(system_error(errno, "create a unix socket"));
  // The mode is set on the socket before bind() makes its file, so that it never exists with another one.
  ::fchmod(listener.get(), 0600);
  if (::bind(listener.get(), generic, sizeof(*address)) != 0 || ::chmod(socket_path.c_str(), 0600) != 0 ||
      ::listen(listener.get(), kListenBacklog) != 0) {
    return fail(system_error(errno, fmt::format("listen on {}", socket_path)));
  }
  int pipe_fds[2];
  if (::pipe2(pipe_fds, O_CLOEXEC) != 0) return fail(system_error(errno, "create a pipe"));
  impl_->wake_read = Fd(pipe_fds[0]);
  impl_->wake_write = Fd(pipe_fds[1]);
  impl_->socket_path = socket_path;
  impl_->listener = std::move(listener);
  impl_->stopping = false;
  impl_->acceptor = std::thread([this] { impl_->accept_loop(); });
  return {};
}

void ControlServer::stop() {
  if (!impl_->acceptor.joinable()) return;
  impl_->stopping = true;
  (void)!::write(impl_->wake_write.get(), "x", 1);
  impl_->acceptor.join();
  {
    std::lock_guard lock(impl_->mutex);
    // Ends waits for the next request; an answer that is being written still goes out.
    for (auto& connection : impl_->connections) ::shutdown(connection.fd.get(), SHUT_RD);
  }
  impl_->reap(true);
  impl_->listener.reset();
  ::unlink(impl_->socket_path.c_str());
}

}  // namespace tweendeck::net

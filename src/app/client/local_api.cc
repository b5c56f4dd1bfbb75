#include "app/client/local_api.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>

#include "app/client/state_dir.h"
#include "serving/process/replica_dir.h"

namespace tweendeck::client {
namespace {

// Long enough for a daemon that waits for replicas to end; what can take longer is asked for in steps.
constexpr int64_t kCallTimeoutMs = 120'000;

// Whether this process may not even try to reach the socket.
bool access_denied(const std::string& state_dir) {
  for (const std::string& path : {state_dir + "/socket", find_socket_path(state_dir)}) {
    if (::access(path.c_str(), path.ends_with("/socket") ? R_OK : R_OK | W_OK) != 0 && errno == EACCES)
      return true;
  }
  return false;
}

// A lock that is held tells of a daemon that does not answer (yet, or any more).
bool daemon_lives(const std::string& state_dir) {
  int fd = ::open((state_dir + "/lock").c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return false;
  bool held = ::flock(fd, LOCK_SH | LOCK_NB) != 0 && errno == EWOULDBLOCK;
  ::close(fd);
  return held;
}

}  // namespace

Error explain_unreachable(const std::string& state_dir, Error error) {
  if (error.reason != Reason::DaemonUnreachable) return error;
  if (access_denied(state_dir)) {
    return {Reason::PermissionDenied,
            fmt::format("this user may not use the daemon's state directory {}", state_dir),
            "run it as the daemon's user or as root, or name your own daemon with --state-dir"};
  }
  if (daemon_lives(state_dir)) {
    return {
        Reason::DaemonUnreachable,
        fmt::format("the daemon of the state directory {} does not answer: it starts or stops", state_dir),
        "try again in a moment"};
  }
  if (size_t living = serving::living_replicas(state_dir); living > 0) {
    return {Reason::DaemonUnreachable,
            fmt::format("the daemon of the state directory {} is not running, {} replica{} still {}",
                        state_dir, living, living == 1 ? "" : "s", living == 1 ? "is" : "are"),
            "`tweendeck up --detach` adopts them, then `tweendeck down` stops them"};
  }
  return {Reason::DaemonUnreachable, fmt::format("no daemon answers for the state directory {}", state_dir),
          "start one with `tweendeck up --detach`, or name another with --state-dir"};
}

std::optional<std::string> process_environment(std::string_view name) {
  const char* value = std::getenv(std::string(name).c_str());
  return value == nullptr ? std::nullopt : std::optional<std::string>(value);
}

LocalApi::LocalApi(std::string state_dir) : state_dir_(std::move(state_dir)) {
  net::ControlClient::Limits limits;
  limits.total_timeout_ms = kCallTimeoutMs;
  client_ = std::make_unique<net::ControlClient>(
      net::ControlClient::unix_socket(find_socket_path(state_dir_)), limits);
}

Result<std::string> state_dir_of(const cli::Invocation& in) {
  if (in.is_set("state-dir") && in.text("state-dir").empty()) {
    return fail(Reason::InvalidArgument, "--state-dir is empty", "name a directory, or leave the flag out");
  }
  return resolve_state_dir(in.text("state-dir"), geteuid() == 0, process_environment);
}

Result<LocalApi> LocalApi::of(const cli::Invocation& in) {
  Result<std::string> dir = state_dir_of(in);
  if (!dir) return fail(dir.error());
  return LocalApi(std::move(*dir));
}

Result<ApiAnswer> LocalApi::call(std::string_view method, std::string_view path, std::string_view body) {
  Result<std::string> text = client_->call(method, path, body);
  if (!text) return fail(explain_unreachable(state_dir_, text.error()));
  Result<net::JsonValue> json = net::parse_json(*text);
  if (!json)
    return fail(Reason::Internal, fmt::format("the daemon's answer to {} {} is no JSON", method, path));
  return ApiAnswer{std::move(*text), std::move(*json)};
}

Status LocalApi::follow(const std::string& path, const std::function<bool(std::string_view)>& on_data) {
  net::ControlClient::Limits limits;
  limits.total_timeout_ms = 0;
  net::ControlClient streaming(net::ControlClient::unix_socket(find_socket_path(state_dir_)), limits);
  int status = 0;
  std::string error_body;
  net::HttpCall call;
  call.path = path;
  call.on_head = [&](const net::HttpAnswer& head) { status = head.status; };
  call.on_data = [&](std::string_view data) {
    if (status == 200) return on_data(data);
    error_body += data;
    return true;
  };
  Result<net::HttpAnswer> answer = streaming.request(call);
  if (!answer) {
    if (answer.error().reason == Reason::Cancelled) return {};
    return fail(explain_unreachable(state_dir_, answer.error()));
  }
  if (answer->status != 200) return fail(net::error_from_json(error_body, answer->status));
  return {};
}

}  // namespace tweendeck::client

#include "app/client/local_api.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdlib>

#include "app/client/state_dir.h"

namespace tweendeck::client {
namespace {

// Long enough for a daemon that waits for replicas to end; what can take longer is asked for in steps.
constexpr int64_t kCallTimeoutMs = 120'000;

}  // namespace

std::optional<std::string> process_environment(std::string_view name) {
  const char* value = std::getenv(std::string(name).c_str());
  return value == nullptr ? std::nullopt : std::optional<std::string>(value);
}

LocalApi::LocalApi(std::string state_dir) : state_dir_(std::move(state_dir)) {
  net::ControlClient::Limits limits;
  limits.total_timeout_ms = kCallTimeoutMs;
  client_ = std::make_unique<net::ControlClient>(net::ControlClient::unix_socket(find_socket_path(state_dir_)), limits);
}

Result<LocalApi> LocalApi::of(const cli::Invocation& in) {
  Result<std::string> dir = resolve_state_dir(in.text("state-dir"), geteuid() == 0, process_environment);
  if (!dir) return fail(dir.error());
  return LocalApi(std::move(*dir));
}

Error LocalApi::with_advice(Error error) const {
  if (error.reason == Reason::DaemonUnreachable) {
    error.message = fmt::format("no daemon answers for the state directory {}", state_dir_);
    error.hint = "start one with `tweendeck up --detach`, or name another with --state-dir";
  }
  return error;
}

Result<ApiAnswer> LocalApi::call(std::string_view method, std::string_view path, std::string_view body) {
  Result<std::string> text = client_->call(method, path, body);
  if (!text) return fail(with_advice(text.error()));
  Result<net::JsonValue> json = net::parse_json(*text);
  if (!json) return fail(Reason::Internal, fmt::format("the daemon's answer to {} {} is no JSON", method, path));
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
    return fail(with_advice(answer.error()));
  }
  if (answer->status != 200) return fail(net::error_from_json(error_body, answer->status));
  return {};
}

}  // namespace tweendeck::client

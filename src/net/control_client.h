// Blocking HTTP client for control traffic: the local API over its unix socket, health checks and benchmarks
// over TCP.
//
//   ControlClient client(ControlClient::unix_socket(path));
//   Result<std::string> body = client.call("GET", "/v1/devices");   // a non-2xx answer becomes its Error
//
// One object per thread; the connection is kept between calls. Nothing is retried.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace tweendeck::net {

struct HttpAnswer {
  int status = 0;
  std::vector<std::pair<std::string, std::string>> headers;  // names in lower case, in order
  std::string body;

  std::string_view header(std::string_view lower_name) const;  // "" when absent
};

struct HttpCall {
  std::string method = "GET";
  std::string path;  // with query
  std::string body;
  std::vector<std::pair<std::string, std::string>>
      headers;  // Content-Type defaults to application/json with a body
  // Gets the body's bytes as they arrive instead of HttpAnswer::body; return false to end the call
  // (Cancelled).
  std::function<bool(std::string_view)> on_data;
  // Called once when status and headers are there, before any data.
  std::function<void(const HttpAnswer&)> on_head;
};

class ControlClient {
 public:
  struct Target {
    std::string socket_path;  // not empty: connect to this unix socket
    std::string base_url;     // "http://127.0.0.1:8080"; scheme and host only
    std::string ca_file;      // for https: trust these certificates instead of the system's
  };
  struct Limits {
    int64_t connect_timeout_ms = 2000;
    int64_t total_timeout_ms = 60'000;  // of one call; 0 = none, for streams that follow
    size_t max_body_bytes = 64 << 20;   // of a collected body
  };

  static Target unix_socket(std::string path) { return {std::move(path), "http://localhost", {}}; }
  static Target url(std::string base_url) { return {{}, std::move(base_url), {}}; }

  explicit ControlClient(Target target) : ControlClient(std::move(target), Limits{}) {}
  ControlClient(Target target, Limits limits);
  ~ControlClient();

  // Any complete answer, whatever its status. Errors: DaemonUnreachable (nothing listens), Timeout,
  // Cancelled, LimitExceeded, IoError.
  Result<HttpAnswer> request(const HttpCall& call);

  // The body of a 2xx; the Error that another status carries.
  Result<std::string> call(std::string_view method, std::string_view path, std::string_view body = {});

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// Percent-encodes one path segment or query value.
std::string url_encode(std::string_view text);
Result<std::string> url_decode(std::string_view text);  // '+' stays '+'

}  // namespace tweendeck::net

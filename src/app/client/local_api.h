// The local API as commands use it: one call, the answer as a tree and as the text that -o json prints.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "app/cli/command.h"
#include "base/result.h"
#include "net/control_client.h"
#include "net/json.h"

namespace tweendeck::client {

struct ApiAnswer {
  std::string text;
  net::JsonValue json;
};

// The state directory that a command works on. Errors: InvalidArgument for an empty --state-dir; of
// resolve_state_dir.
Result<std::string> state_dir_of(const cli::Invocation& in);

class LocalApi {
 public:
  // Does not connect yet. Errors: those of resolve_state_dir.
  static Result<LocalApi> of(const cli::Invocation& in);

  // The Error that the daemon answered, or what explain_unreachable() makes of it.
  Result<ApiAnswer> get(std::string_view path) { return call("GET", path); }
  Result<ApiAnswer> call(std::string_view method, std::string_view path, std::string_view body = {});

  // Lines (or raw text) as they arrive; `on_data` returns false to end.
  Status follow(const std::string& path, const std::function<bool(std::string_view)>& on_data);

  const std::string& state_dir() const { return state_dir_; }

 private:
  explicit LocalApi(std::string state_dir);

  std::string state_dir_;
  std::unique_ptr<net::ControlClient> client_;
};

// What a DaemonUnreachable means for a state directory, with the way out: no permission (PermissionDenied), a
// daemon that starts or stops, replicas whose daemon is gone, or nothing at all. Other errors stay as they
// are.
Error explain_unreachable(const std::string& state_dir, Error error);

std::optional<std::string> process_environment(std::string_view name);

}  // namespace tweendeck::client

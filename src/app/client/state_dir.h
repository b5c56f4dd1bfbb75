// Where a daemon keeps its state and its socket; the daemon and its clients must find the same.
//
// The socket is DIR/tweendeck.sock. A path that would pass the 107 bytes of a socket address is replaced by a
// short one named by the directory's hash, and the file DIR/socket tells it.
#pragma once

#include <string>

#include "app/cli/command.h"
#include "base/result.h"

namespace tweendeck::client {

inline constexpr size_t kMaxSocketPathBytes = 107;

// `given` (--state-dir or its variable) when not empty, else /var/lib/tweendeck for root, else below
// $XDG_STATE_HOME. Absolute. Error InvalidArgument when there is neither a home nor XDG_STATE_HOME.
Result<std::string> resolve_state_dir(const std::string& given, bool is_root,
                                      const cli::Environment& environment);

// The path for a daemon to listen on; `runtime_dir` holds the short ones. Pure.
std::string choose_socket_path(const std::string& state_dir, const std::string& runtime_dir);

// The path that a client connects to.
std::string find_socket_path(const std::string& state_dir);

}  // namespace tweendeck::client

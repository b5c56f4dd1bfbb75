// Which gateway `run` and `bench` talk to: --gateway, else the one of the local daemon.
#pragma once

#include <vector>

#include "app/cli/command.h"
#include "app/client/chat_client.h"

namespace tweendeck::client {

// --gateway, --api-key-file, --ca: part of the flags of commands that send requests.
std::vector<cli::Flag> gateway_flags();

// Errors: DaemonUnreachable; NotFound for the key file.
Result<ChatTarget> gateway_target(const cli::Invocation& in);

}  // namespace tweendeck::client

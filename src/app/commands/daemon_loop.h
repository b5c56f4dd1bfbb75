// The daemon's life from start to end: signals, the once-a-second work, requests to stop.
#pragma once

#include <functional>

#include "app/daemon/daemon.h"
#include "base/result.h"

namespace tweendeck::commands {

// Blocks the signals that the loop waits for; before any thread starts, so that every thread inherits it.
void block_daemon_signals();

// Runs until SIGTERM, SIGINT, `down` or `replace`. `on_ready` is told what the daemon offers. A second signal
// ends the process at once, which is safe at any time. Errors: those of Daemon::start.
Status run_daemon(daemon::DaemonConfig config,
                  const std::function<void(const std::string& summary)>& on_ready);

// Asks the daemon that owns the state to leave its replicas alone and end, and waits until it did. It is
// asked only when a daemon with `config` could start; else it goes on. No daemon there: done. Errors: of
// Daemon::check, Timeout.
Status hand_over(const daemon::DaemonConfig& config, Nanos limit);

}  // namespace tweendeck::commands

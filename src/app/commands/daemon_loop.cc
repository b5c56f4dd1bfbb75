#include "app/commands/daemon_loop.h"

#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <thread>

#include "app/client/local_api.h"
#include "app/client/process_end.h"
#include "app/client/state_dir.h"
#include "base/log.h"
#include "base/units.h"
#include "net/control_client.h"
#include "net/json.h"
#include "net/listener.h"

namespace tweendeck::commands {
namespace {

constexpr timespec kWatchTick = {.tv_sec = 0, .tv_nsec = 100'000'000};
constexpr Nanos kHousekeepPeriod = kSecond;
constexpr int kWakeSignal = SIGUSR1;
// A new daemon waits for this one: long answers are cut rather than the service.
constexpr Nanos kReplaceDrain = 5 * kSecond;
constexpr auto kEndPoll = std::chrono::milliseconds(20);
constexpr int kSecondSignalExit = 130;

sigset_t daemon_signals() {
  sigset_t signals;
  sigemptyset(&signals);
  for (int number : {SIGTERM, SIGINT, kWakeSignal}) sigaddset(&signals, number);
  return signals;
}

// From now on a further SIGTERM or SIGINT ends the process where it stands.
void end_on_next_signal() {
  std::thread([] {
    sigset_t signals = daemon_signals();
    int number = 0;
    do {
      sigwait(&signals, &number);
    } while (number == kWakeSignal);
    log::warning("Ended at once on a second signal", {{"signal", number}});
    _exit(kSecondSignalExit);
  }).detach();
}

// Where the daemon that answered /v1/version listens.
std::optional<net::Address> address_of(const std::string& version) {
  Result<net::JsonValue> json = net::parse_json(version);
  if (!json) return std::nullopt;
  std::string listen((*json)["listen"].text_or(""));
  if (listen.empty()) {  // an older daemon tells its URL only
    std::string url((*json)["gateway"].text_or(""));
    size_t host = url.find("://");
    listen = host == std::string::npos ? url : url.substr(host + 3);
  }
  Result<net::Address> address = net::parse_address(listen);
  return address ? std::optional(*address) : std::nullopt;
}

// The slices of the running daemon, as far as a check needs them.
Result<std::vector<device::SliceEntry>> held_slices(net::ControlClient& client) {
  Result<std::string> text = client.call("GET", "/v1/devices");
  if (!text) return fail(text.error());
  Result<net::JsonValue> json = net::parse_json(*text);
  if (!json) return fail(json.error());
  std::vector<device::SliceEntry> held;
  for (const net::JsonValue& device : (*json)["devices"].items()) {
    for (const net::JsonValue& slice : device["slices"].items()) {
      device::SliceEntry entry;
      entry.provider = device["provider"].text_or("");
      entry.slice.owner = slice["owner"].text_or("");
      entry.slice.deployment = slice["deployment"].text_or("");
      held.push_back(std::move(entry));
    }
  }
  return held;
}

void finish(daemon::Daemon& daemon, const daemon::DaemonRequest& request) {
  if (request.kind == daemon::DaemonRequest::Kind::Replace) {
    log::info("Handed over to another daemon; replicas stay");
    daemon.stop(kReplaceDrain);
    return;
  }
  log::info("Stopped all deployments by command", {{"drain", format_duration(request.drain)}});
  if (Status gone = daemon.stop_replicas(); !gone) {
    log::error("Gave up on replicas that do not end",
               {{"reason", gone.error().reason}, {"detail", gone.error().message}});
  }
  daemon.stop(0);
}

}  // namespace

void block_daemon_signals() {
  sigset_t signals = daemon_signals();
  pthread_sigmask(SIG_BLOCK, &signals, nullptr);
}

Status run_daemon(daemon::DaemonConfig config,
                  const std::function<void(const std::string& summary)>& on_ready) {
  Nanos drain = config.drain;
  config.on_request = [] { kill(getpid(), kWakeSignal); };
  Result<std::unique_ptr<daemon::Daemon>> daemon = daemon::Daemon::start(std::move(config));
  if (!daemon) return fail(daemon.error());
  std::string summary = (*daemon)->summary();
  log::info("Started", {{"offers", summary}});
  on_ready(summary);

  sigset_t signals = daemon_signals();
  SystemClock clock;
  Nanos housekept = clock.now();
  while (true) {
    int number = sigtimedwait(&signals, nullptr, &kWatchTick);
    if (number == SIGTERM || number == SIGINT) {
      log::info("Stopped by signal; replicas stay", {{"signal", number}, {"drain", format_duration(drain)}});
      end_on_next_signal();
      (*daemon)->stop(drain);
      return {};
    }
    if (std::optional<daemon::DaemonRequest> request = (*daemon)->pending_request()) {
      end_on_next_signal();
      finish(**daemon, *request);
      return {};
    }
    (*daemon)->watch();
    if (clock.now() - housekept < kHousekeepPeriod) continue;
    (*daemon)->housekeep();
    housekept = clock.now();
  }
}

Status hand_over(const daemon::DaemonConfig& config, Nanos limit) {
  SystemClock clock;
  Nanos started = clock.now();
  net::ControlClient client(net::ControlClient::unix_socket(client::find_socket_path(config.state_dir)));
  Result<std::string> running = client.call("GET", "/v1/version");
  if (!running) {
    Error error = client::explain_unreachable(config.state_dir, running.error());
    // Nobody to take over from; whether the state is free, starting tells.
    if (error.reason == Reason::DaemonUnreachable) return {};
    return fail(std::move(error));
  }
  Result<std::vector<device::SliceEntry>> held = held_slices(client);
  if (!held) return fail(held.error());
  if (Status startable = daemon::Daemon::check(config, address_of(*running), *held); !startable) {
    Error error = startable.error();
    error.message += "; the running daemon goes on";
    return fail(std::move(error));
  }
  Result<std::string> asked = client.call("POST", "/v1/replace");
  if (!asked) {
    // Nobody to take over from; whether the state is free, starting tells.
    if (asked.error().reason == Reason::DaemonUnreachable) return {};
    return fail(asked.error());
  }
  Result<net::JsonValue> answer = net::parse_json(*asked);
  int64_t pid = answer ? (*answer)["pid"].integer_or(0) : 0;
  while (pid > 0 && !client::process_ended(pid)) {
    if (clock.now() - started > limit) {
      return fail(
          Reason::Timeout,
          fmt::format("the running daemon (pid {}) has not ended within {}", pid, format_duration(limit)),
          "stop it with SIGTERM; its replicas stay");
    }
    std::this_thread::sleep_for(kEndPoll);
  }
  return {};
}

}  // namespace tweendeck::commands

#include "serving/process/launcher.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <netinet/in.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>

#include "base/text.h"
#include "serving/shim/layout.h"

namespace tweendeck::serving {
namespace {

constexpr int kPortTries = 50;

std::vector<char*> pointers(std::vector<std::string>& words) {
  std::vector<char*> raw;
  for (std::string& word : words) raw.push_back(word.data());
  raw.push_back(nullptr);
  return raw;
}

// Only stdin, stdout and stderr reach the shim: the daemon opens everything else with O_CLOEXEC, and the shim
// closes what slipped through.
Result<int32_t> spawn(std::vector<std::string> arguments, std::vector<std::string> environment,
                      int stderr_fd) {
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_addopen(&actions, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
  posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0);
  if (stderr_fd >= 0) {
    posix_spawn_file_actions_adddup2(&actions, stderr_fd, STDERR_FILENO);
  } else {
    posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0);
  }
  // The daemon blocks and ignores signals of its own; the shim starts with none of that.
  posix_spawnattr_t attributes;
  posix_spawnattr_init(&attributes);
  sigset_t none;
  sigemptyset(&none);
  sigset_t all;
  sigfillset(&all);
  posix_spawnattr_setsigmask(&attributes, &none);
  posix_spawnattr_setsigdefault(&attributes, &all);
  posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);

  pid_t pid = 0;
  const std::string program = arguments.front();
  const auto argv = pointers(arguments);
  const auto envp = pointers(environment);
  const int error = posix_spawn(&pid, program.c_str(), &actions, &attributes, argv.data(), envp.data());
  posix_spawnattr_destroy(&attributes);
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return fail(system_error(error, "cannot start " + program));
  return pid;
}

std::vector<std::string> shim_arguments(const std::string& shim, const ReplicaDir& dir,
                                        const LaunchPlan& plan) {
  std::vector<std::string> words{shim,
                                 "--dir",
                                 dir.path(),
                                 "--launch",
                                 std::to_string(plan.launch),
                                 "--start",
                                 std::to_string(plan.start),
                                 "--parent",
                                 std::to_string(getpid()),
                                 "--port",
                                 std::to_string(plan.port),
                                 "--uid",
                                 std::to_string(plan.uid),
                                 "--stop-signal",
                                 std::to_string(plan.stop_signal),
                                 "--grace-ms",
                                 std::to_string(plan.stop_grace / kMillisecond),
                                 "--log-bytes",
                                 std::to_string(plan.log_bytes)};
  for (const std::string& path : plan.cgroup_procs) words.insert(words.end(), {"--cgroup-procs", path});
  for (const Mount& mount : plan.mounts) {
    words.insert(words.end(), {"--mount", mount.read_only ? "ro" : "rw", mount.source, mount.target});
  }
  words.emplace_back("--");
  words.insert(words.end(), plan.command.begin(), plan.command.end());
  return words;
}

}  // namespace

std::string Launcher::check_sandbox() const {
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return system_error(errno, "pipe").message;
  auto pid = spawn({shim_, "--check-sandbox"}, {}, ends[1]);
  ::close(ends[1]);
  std::string text;
  if (pid) {
    std::array<char, 512> buffer{};
    for (ssize_t length = 0; (length = ::read(ends[0], buffer.data(), buffer.size())) > 0;) {
      text.append(buffer.data(), static_cast<size_t>(length));
    }
    int status = 0;
    waitpid(*pid, &status, 0);
    if (status != 0 && text.empty()) text = fmt::format("{} --check-sandbox failed", shim_);
  } else {
    text = pid.error().message;
  }
  ::close(ends[0]);
  return std::string(trim(text));
}

Status Launcher::start(const std::string& replica_id, const ReplicaDir& dir, const LaunchPlan& plan) {
  std::vector<std::string> environment;
  for (const auto& [key, value] : plan.env) environment.push_back(key + "=" + value);
  auto pid = spawn(shim_arguments(shim_, dir, plan), std::move(environment), -1);
  if (!pid) return fail(pid.error());
  children_[replica_id] = *pid;
  return {};
}

bool Launcher::child_lives(const std::string& replica_id) {
  const auto child = children_.find(replica_id);
  if (child == children_.end()) return false;
  if (waitpid(child->second, nullptr, WNOHANG) == 0) return true;
  children_.erase(child);
  return false;
}

Status Launcher::signal(const std::string& replica_id, const ReplicaDir& dir, int number) {
  const auto launch = dir.launch();
  if (launch && dir.shim_lives() && is_process(launch->pid, launch->start_ticks)) {
    if (::kill(launch->pid, number) == 0 || errno == ESRCH) return {};
    return fail(system_error(errno, fmt::format("cannot signal {} (pid {})", replica_id, launch->pid)));
  }
  // No record yet, or the shim is gone: nothing can end it in order.
  return kill_holders(replica_id, dir);
}

Status Launcher::stop(const std::string& replica_id, const ReplicaDir& dir) {
  return signal(replica_id, dir, shim::kStopSignal);
}

Status Launcher::kill(const std::string& replica_id, const ReplicaDir& dir) {
  return signal(replica_id, dir, shim::kKillSignal);
}

Status Launcher::kill_holders(const std::string& replica_id, const ReplicaDir& dir) {
  if (const auto child = children_.find(replica_id); child != children_.end() && child_lives(replica_id)) {
    ::kill(child->second, SIGKILL);
  }
  for (const int32_t pid : dir.holders()) {
    if (::kill(pid, SIGKILL) != 0 && errno != ESRCH) {
      return fail(system_error(errno, fmt::format("cannot kill pid {} of {}", pid, replica_id)));
    }
  }
  return {};
}

Result<uint16_t> pick_port(const std::string& host, const std::vector<uint16_t>& taken) {
  sockaddr_in address{};
  address.sin_family = AF_INET;
  if (inet_pton(AF_INET, host.c_str(), &address.sin_addr) != 1) {
    return fail(Reason::InvalidArgument, fmt::format("'{}' is not an IPv4 address", host));
  }
  for (int i = 0; i < kPortTries; ++i) {
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return fail(system_error(errno, "cannot open a socket"));
    socklen_t length = sizeof address;
    address.sin_port = 0;
    auto* raw = reinterpret_cast<sockaddr*>(&address);
    const bool bound = bind(fd, raw, length) == 0 && getsockname(fd, raw, &length) == 0;
    const int error = errno;
    ::close(fd);
    if (!bound) return fail(system_error(error, "no free port on " + host));
    const uint16_t port = ntohs(address.sin_port);
    if (std::ranges::find(taken, port) == taken.end()) return port;
  }
  return fail(Reason::LimitExceeded, fmt::format("no free port on {} after {} tries", host, kPortTries));
}

}  // namespace tweendeck::serving

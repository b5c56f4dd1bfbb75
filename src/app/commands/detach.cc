#include "app/commands/detach.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <filesystem>

#include "base/log.h"
#include "net/json.h"
#include "serving/store/state_lock.h"

namespace tweendeck::commands {
namespace {

Status leave_terminal(const std::string& log_path) {
  setsid();
  int null_fd = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
  dup2(null_fd, STDIN_FILENO);
  return log::to_file(log_path, kMaxDaemonLogBytes);
}

Result<std::string> read_report(int fd, pid_t child, const std::string& log_path) {
  std::string report;
  char buffer[4096];
  for (ssize_t got; (got = ::read(fd, buffer, sizeof buffer)) > 0 || (got < 0 && errno == EINTR);) {
    if (got > 0) report.append(buffer, static_cast<size_t>(got));
  }
  ::close(fd);
  if (report.starts_with('+')) return report.substr(1);
  waitpid(child, nullptr, 0);
  if (report.starts_with('-')) return fail(net::error_from_json(std::string_view(report).substr(1), 500));
  return fail(Reason::Internal, "the daemon ended while it started", "its log tells more: " + log_path);
}

}  // namespace

ReadyPipe::~ReadyPipe() {
  if (fd_ >= 0) ::close(fd_);
}
void ReadyPipe::ready(const std::string& summary) {
  send('+', summary);
}
void ReadyPipe::failed(const Error& error) {
  send('-', net::error_json(error));
}

void ReadyPipe::send(char kind, const std::string& text) {
  if (fd_ < 0) return;
  std::string report = kind + text;
  // A report is far smaller than a pipe's buffer: one write takes all of it.
  [[maybe_unused]] ssize_t written = ::write(fd_, report.data(), report.size());
  ::close(fd_);
  fd_ = -1;
}

Result<std::string> run_detached(const std::string& log_path, const std::function<int(ReadyPipe&)>& body) {
  std::string folder = std::filesystem::path(log_path).parent_path().string();
  if (Status made = serving::make_state_dir(folder); !made) return fail(made.error());
  int ends[2];
  if (pipe2(ends, O_CLOEXEC) != 0) return fail(system_error(errno, "cannot make a pipe"));
  std::fflush(nullptr);
  pid_t child = fork();
  if (child < 0) return fail(system_error(errno, "cannot start a process"));
  if (child == 0) {
    ::close(ends[0]);
    int code = 1;
    {
      ReadyPipe pipe(ends[1]);
      if (Status left = leave_terminal(log_path); !left)
        pipe.failed(left.error());
      else
        code = body(pipe);
    }
    std::fflush(nullptr);
    _exit(code);
  }
  ::close(ends[1]);
  return read_report(ends[0], child, log_path);
}

}  // namespace tweendeck::commands

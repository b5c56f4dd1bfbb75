#include "app/client/guest.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <string_view>

extern char** environ;

namespace tweendeck::client {
namespace {

constexpr int kForwarded[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT, SIGUSR1, SIGUSR2, SIGWINCH};
constexpr int kCannotRun = 126;
constexpr int kNotThere = 127;
constexpr int kSignalBase = 128;

// Lists of paths: what the slice needs goes first and the rest stays.
bool is_path_list(std::string_view name) {
  return name == "LD_PRELOAD" || name == "LD_LIBRARY_PATH";
}

sigset_t watched() {
  sigset_t set;
  sigemptyset(&set);
  for (const int number : kForwarded) sigaddset(&set, number);
  sigaddset(&set, SIGCHLD);
  return set;
}

// Why the child could not become the program, as it tells over the pipe.
struct Failure {
  enum class At : uint8_t { Cgroup, Program } at;
  int error;
};

// In the child. An error here leaves nobody to tell it to but the parent that waits for it.
[[noreturn]] void become(const Guest& guest, const std::vector<int>& groups, const sigset_t& mask,
                         pid_t parent, int report) {
  Failure failure{Failure::At::Cgroup, 0};
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(kCannotRun);  // it ended before we asked
  for (const int group : groups) {
    if (write(group, "0", 1) != 1) failure.error = errno;
  }
  if (failure.error == 0) {
    sigprocmask(SIG_SETMASK, &mask, nullptr);
    std::vector<std::string> ours;
    for (char** entry = environ; *entry != nullptr; ++entry) ours.emplace_back(*entry);
    std::vector<std::string> made = guest_environment(ours, guest.env);
    std::vector<char*> variables, words;
    for (std::string& variable : made) variables.push_back(variable.data());
    variables.push_back(nullptr);
    for (const std::string& word : guest.words) words.push_back(const_cast<char*>(word.c_str()));
    words.push_back(nullptr);
    execvpe(words[0], words.data(), variables.data());
    failure = {Failure::At::Program, errno};
  }
  if (write(report, &failure, sizeof(failure)) != sizeof(failure)) _exit(kCannotRun);
  _exit(failure.error == ENOENT ? kNotThere : kCannotRun);
}

std::string hint_for(const std::string& program, int error) {
  std::error_code ignored;
  const bool is_path = program.find('/') != std::string::npos;
  if (error == ENOENT && !is_path) return "no folder of PATH has it; check the name or give its path";
  if (error == ENOENT && std::filesystem::exists(program, ignored))
    return "the file is there, what runs it is not: see the interpreter in its first line, or its loader";
  if (error == ENOENT) return "check the path; a relative one starts where exec was called";
  if (error == EACCES && std::filesystem::is_directory(program, ignored))
    return "it is a folder; name a program";
  if (error == EACCES) return "make it executable: chmod +x";
  if (error == E2BIG) return "pass fewer or shorter arguments";
  return "";
}

Error not_started(const std::string& program, int error) {
  Error result = system_error(error, "cannot run " + program);
  if (error == ENOENT) result.reason = Reason::NotFound;
  result.hint = hint_for(program, error);
  return result;
}

// Passes signals on until the child has ended. Those of the terminal reach its whole foreground group anyway.
int wait_for(pid_t child, int signals) {
  while (true) {
    int status = 0;
    const pid_t ended = waitpid(child, &status, WNOHANG);
    if (ended == child) return WIFSIGNALED(status) ? kSignalBase + WTERMSIG(status) : WEXITSTATUS(status);
    signalfd_siginfo info{};
    if (read(signals, &info, sizeof(info)) != sizeof(info)) continue;
    if (info.ssi_signo == SIGCHLD || info.ssi_code == SI_KERNEL) continue;
    kill(child, static_cast<int>(info.ssi_signo));
  }
}

void close_all(const std::vector<int>& fds) {
  for (const int fd : fds) close(fd);
}

}  // namespace

std::vector<std::string> guest_environment(const std::vector<std::string>& ours,
                                           const std::vector<EnvVar>& slice) {
  std::vector<std::string> result;
  for (const std::string& entry : ours) {
    const std::string_view name = std::string_view(entry).substr(0, entry.find('='));
    const bool is_replaced = std::ranges::any_of(slice, [&](const EnvVar& one) { return one.first == name; });
    if (!is_replaced) result.push_back(entry);
  }
  for (const auto& [name, value] : slice) {
    std::string entry = name + "=" + value;
    for (const std::string& old : ours) {
      if (is_path_list(name) && old.starts_with(name + "=") && old.size() > name.size() + 1)
        entry += ":" + old.substr(name.size() + 1);
    }
    result.push_back(std::move(entry));
  }
  return result;
}

Result<GuestEnd> run_guest(const Guest& guest) {
  if (guest.words.empty()) return fail(Reason::InvalidArgument, "no program to run", "name one after --");
  std::vector<int> groups;
  for (const std::string& path : guest.cgroup_procs) {
    const int fd = open(path.c_str(), O_WRONLY | O_CLOEXEC);
    if (fd < 0) {
      const int error = errno;
      close_all(groups);
      return fail(system_error(error, "cannot enter the slice's cgroup by " + path));
    }
    groups.push_back(fd);
  }
  int report[2];
  const sigset_t set = watched();
  sigset_t before;
  sigprocmask(SIG_BLOCK, &set, &before);
  const int signals = signalfd(-1, &set, SFD_CLOEXEC);
  if (signals < 0 || pipe2(report, O_CLOEXEC) != 0) {
    const int error = errno;
    if (signals >= 0) close(signals);
    sigprocmask(SIG_SETMASK, &before, nullptr);
    close_all(groups);
    return fail(system_error(error, "cannot prepare to run " + guest.words[0]));
  }
  const pid_t parent = getpid();
  const pid_t child = fork();
  if (child == 0) become(guest, groups, before, parent, report[1]);
  const int fork_error = errno;
  close(report[1]);
  close_all(groups);
  Result<GuestEnd> end = GuestEnd{};
  if (child < 0) {
    end = fail(system_error(fork_error, "cannot start " + guest.words[0]));
  } else {
    // A program that starts closes the pipe.
    Failure failure{};
    const bool failed = read(report[0], &failure, sizeof(failure)) == sizeof(failure);
    end->code = wait_for(child, signals);
    if (failed && failure.at == Failure::At::Program) {
      end->not_started = not_started(guest.words[0], failure.error);
    } else if (failed) {
      end = fail(system_error(failure.error, "cannot enter the slice's cgroup"));
    }
  }
  close(report[0]);
  close(signals);
  sigprocmask(SIG_SETMASK, &before, nullptr);
  return end;
}

}  // namespace tweendeck::client

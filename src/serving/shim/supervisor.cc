#include "serving/shim/supervisor.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include "serving/shim/layout.h"
#include "serving/shim/log_writer.h"
#include "serving/shim/records.h"
#include "serving/shim/sandbox.h"

namespace tweendeck::shim {
namespace {

constexpr int kLockTries = 200;  // 10 ms apart: the shim before this one may be just leaving
constexpr useconds_t kLockPauseUs = 10'000;
constexpr size_t kPumpBytes = 64 * 1024;
constexpr int kMaxPumpRounds = 64;  // per wake-up, so that a chatty engine cannot starve signals

int64_t clock_ns(clockid_t id) {
  timespec now{};
  clock_gettime(id, &now);
  return static_cast<int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

bool lock_range(int fd, short type, int64_t first, int64_t count) {
  struct flock lock{};
  lock.l_type = type;
  lock.l_whence = SEEK_SET;
  lock.l_start = first;
  lock.l_len = count;
  return fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

// Both bytes must be free, so a process that an earlier engine left behind keeps the next one from starting;
// then byte 1 is given back for the engine.
int take_lock(int dir_fd) {
  const int fd = openat(dir_fd, kLockFile, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return -1;
  for (int i = 0; i < kLockTries; ++i) {
    if (lock_range(fd, F_WRLCK, kShimLockByte, 2)) {
      lock_range(fd, F_UNLCK, kEngineLockByte, 1);
      return fd;
    }
    usleep(kLockPauseUs);
  }
  close(fd);
  return -1;
}

struct Pipe {
  int read = -1;
  int write = -1;
  bool open() {
    int ends[2];
    if (pipe2(ends, O_CLOEXEC) != 0) return false;
    read = ends[0];
    write = ends[1];
    return true;
  }
};

class Supervisor {
 public:
  explicit Supervisor(const Options& options) : options_(options) {}
  int run();

 private:
  bool prepare();
  bool start();
  [[noreturn]] void become_engine();
  std::string prepare_engine();
  void loop();
  void on_signal();
  void stop(bool now);
  void reap();
  void kill_everything();
  void pump();
  void read_start_error();
  int poll_timeout_ms() const;

  const Options& options_;
  int dir_fd_ = -1;
  int lock_fd_ = -1;
  int signal_fd_ = -1;
  pid_t engine_ = -1;
  int engine_status_ = 0;
  bool ended_ = false;
  bool stopped_ = false;
  int64_t kill_at_ns_ = 0;  // 0 = never
  Pipe output_;
  Pipe start_error_;
  Pipe go_;
  std::string error_;
  LogWriter* log_ = nullptr;
};

bool Supervisor::prepare() {
  dir_fd_ = open(options_.dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (dir_fd_ < 0) return false;
  sigset_t signals;
  sigemptyset(&signals);
  for (const int number : {SIGCHLD, SIGTERM, SIGINT, SIGHUP, SIGUSR1}) sigaddset(&signals, number);
  if (sigprocmask(SIG_BLOCK, &signals, nullptr) != 0) return false;
  std::signal(SIGPIPE, SIG_IGN);
  signal_fd_ = signalfd(-1, &signals, SFD_CLOEXEC | SFD_NONBLOCK);
  prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0);
  return signal_fd_ >= 0 && output_.open() && start_error_.open() && go_.open() &&
         fcntl(output_.read, F_SETFL, O_NONBLOCK) == 0 && fcntl(start_error_.read, F_SETFL, O_NONBLOCK) == 0;
}

// Everything that must hold before the engine's first instruction. In the engine's process.
std::string Supervisor::prepare_engine() {
  // Its own file description: letting go of this lock cannot let go of the shim's.
  const int lock = openat(dir_fd_, kLockFile, O_RDONLY | O_CLOEXEC);
  if (lock < 0 || !lock_range(lock, F_RDLCK, kEngineLockByte, 1)) return "cannot lock the replica";
  if (std::string error = enter_slice(options_.cgroup_procs); !error.empty()) return error;
  if (!options_.mounts.empty()) {
    if (std::string error = enter_sandbox(options_.mounts); !error.empty()) return error;
  }
  const std::string work =
      options_.mounts.empty() ? options_.dir + "/" + kWorkDir : std::string(kSandboxRoot) + "/" + kWorkDir;
  if (chdir(work.c_str()) != 0) return "working directory " + work + ": " + std::strerror(errno);
  if (std::string error = drop_privileges(static_cast<unsigned>(options_.uid)); !error.empty()) return error;
  // Changing the user clears it, so it comes after.
  prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  fcntl(lock, F_SETFD, 0);
  return "";
}

void Supervisor::become_engine() {
  close(go_.write);
  setpgid(0, 0);
  umask(022);
  const std::string error = prepare_engine();
  char go = 0;
  // The shim died, or could not write its record: do not run.
  if (error.empty() && read(go_.read, &go, 1) != 1) _exit(kExitFailed);
  if (error.empty()) {
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, nullptr);
    std::signal(SIGPIPE, SIG_DFL);
    const int null = open("/dev/null", O_RDONLY);
    dup2(null, STDIN_FILENO);
    if (null > STDERR_FILENO) close(null);
    dup2(output_.write, STDOUT_FILENO);
    dup2(output_.write, STDERR_FILENO);
    std::vector<char*> arguments;
    for (const std::string& argument : options_.command)
      arguments.push_back(const_cast<char*>(argument.c_str()));
    arguments.push_back(nullptr);
    execvp(arguments[0], arguments.data());
  }
  const std::string text = error.empty() ? options_.command[0] + ": " + std::strerror(errno) : error;
  [[maybe_unused]] const ssize_t ignored = write(start_error_.write, text.data(), text.size());
  _exit(127);
}

bool Supervisor::start() {
  engine_ = fork();
  if (engine_ < 0) return false;
  if (engine_ == 0) become_engine();
  close(output_.write);
  close(start_error_.write);
  close(go_.read);
  LaunchRecord record{options_.launch,      getpid(),     start_ticks(getpid()), engine_,
                      start_ticks(engine_), options_.port};
  if (!write_launch_record(dir_fd_, record)) return false;
  prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0);  // from here on the record tells the next daemon
  const bool started = write(go_.write, "g", 1) == 1;
  close(go_.write);
  return started || errno == EPIPE;  // EPIPE: it failed before; reap() finds out why
}

void Supervisor::pump() {
  static char buffer[kPumpBytes];
  for (int round = 0; round < kMaxPumpRounds && output_.read >= 0; ++round) {
    const ssize_t length = read(output_.read, buffer, sizeof buffer);
    if (length > 0) {
      log_->write({buffer, static_cast<size_t>(length)});
    } else if (length == 0) {
      close(output_.read);
      output_.read = -1;
    } else if (errno != EINTR) {
      return;
    }
  }
}

void Supervisor::read_start_error() {
  char buffer[512];
  const ssize_t length = read(start_error_.read, buffer, sizeof buffer);
  if (length > 0) error_.append(buffer, static_cast<size_t>(length));
}

void Supervisor::stop(bool now) {
  stopped_ = true;
  if (now) {
    kill(-engine_, SIGKILL);
    kill(engine_, SIGKILL);
  } else if (kill_at_ns_ == 0) {
    kill_at_ns_ = clock_ns(CLOCK_MONOTONIC) + static_cast<int64_t>(options_.grace_ms) * 1'000'000;
    if (kill(-engine_, static_cast<int>(options_.stop_signal)) != 0) {
      kill(engine_, static_cast<int>(options_.stop_signal));
    }
  }
}

void Supervisor::on_signal() {
  signalfd_siginfo info{};
  while (read(signal_fd_, &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
    const auto number = static_cast<int>(info.ssi_signo);
    if (number == kStopSignal || number == SIGINT) stop(false);
    if (number == kKillSignal) stop(true);
  }
  reap();
}

void Supervisor::reap() {
  int status = 0;
  for (pid_t pid = 0; (pid = waitpid(-1, &status, WNOHANG)) > 0;) {
    if (pid != engine_) continue;
    engine_status_ = status;
    ended_ = true;
  }
}

// As subreaper the shim inherits every descendant whose parent ends, so killing its children until there are
// none reaches all of them, whatever process group or session they moved to.
void Supervisor::kill_everything() {
  kill(-engine_, SIGKILL);
  char path[64];
  std::snprintf(path, sizeof path, "/proc/self/task/%d/children", getpid());
  for (;;) {
    if (FILE* children = std::fopen(path, "re"); children != nullptr) {
      for (int pid = 0; std::fscanf(children, "%d", &pid) == 1;) kill(pid, SIGKILL);
      std::fclose(children);
    }
    const pid_t pid = waitpid(-1, nullptr, 0);
    if (pid < 0 && errno == ECHILD) return;
  }
}

int Supervisor::poll_timeout_ms() const {
  if (kill_at_ns_ == 0) return -1;
  const int64_t left = (kill_at_ns_ - clock_ns(CLOCK_MONOTONIC)) / 1'000'000 + 1;
  return static_cast<int>(std::clamp<int64_t>(left, 0, INT_MAX));
}

void Supervisor::loop() {
  while (!ended_) {
    pollfd watched[] = {{signal_fd_, POLLIN, 0}, {output_.read, POLLIN, 0}};
    poll(watched, 2, poll_timeout_ms());
    pump();
    on_signal();
    if (kill_at_ns_ != 0 && clock_ns(CLOCK_MONOTONIC) >= kill_at_ns_) {
      log_->note("did not stop in time; killed");
      kill_at_ns_ = 0;
      stop(true);
    }
  }
}

int Supervisor::run() {
  if (!prepare()) return kExitFailed;
  lock_fd_ = take_lock(dir_fd_);
  if (lock_fd_ < 0) return kExitLocked;
  unlinkat(dir_fd_, kExitFile, 0);
  unlinkat(dir_fd_, kLaunchFile, 0);
  if (!reserve_exit_record(dir_fd_)) return kExitFailed;
  LogWriter log(dir_fd_, options_.log_bytes);
  log_ = &log;
  log.note("start " + std::to_string(options_.start));
  if (!start()) {
    if (engine_ > 0) kill_everything();
    return kExitFailed;
  }
  loop();
  kill_everything();
  pump();
  read_start_error();
  ExitRecord record;
  record.launch = options_.launch;
  record.code = WIFEXITED(engine_status_) ? WEXITSTATUS(engine_status_) : 0;
  record.signal = WIFSIGNALED(engine_status_) ? WTERMSIG(engine_status_) : 0;
  record.wall_ns = clock_ns(CLOCK_REALTIME);
  record.stopped = stopped_;
  record.error = error_;
  record.dropped_log_bytes = log.dropped_bytes();
  record.tail = log.tail();
  return write_exit_record(dir_fd_, record) ? 0 : kExitFailed;
}

}  // namespace

int supervise(const Options& options) {
  prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
  if (options.parent != 0 && getppid() != static_cast<pid_t>(options.parent)) return kExitFailed;
  close_range(STDERR_FILENO + 1, ~0u, 0);  // whatever the daemon had open
  setsid();
  umask(077);
  return Supervisor(options).run();
}

std::string check_sandbox() {
  if (geteuid() != 0) return "not root";
  Pipe answer;
  if (!answer.open()) return std::strerror(errno);
  const pid_t child = fork();
  if (child < 0) return std::strerror(errno);
  if (child == 0) {
    umask(022);
    const std::string error = enter_sandbox({});
    [[maybe_unused]] const ssize_t ignored = write(answer.write, error.data(), error.size());
    _exit(0);
  }
  close(answer.write);
  char text[512];
  const ssize_t length = read(answer.read, text, sizeof text);
  close(answer.read);
  waitpid(child, nullptr, 0);
  return length > 0 ? std::string(text, static_cast<size_t>(length)) : std::string();
}

}  // namespace tweendeck::shim

#include "serving/store/state_lock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <filesystem>
#include <utility>

#include "base/text.h"

namespace tweendeck::serving {
namespace {

// A killed daemon's lock lives on for a moment in a child that it was just starting, until that child's exec.
constexpr int kTries = 50;
constexpr useconds_t kPauseUs = 20'000;

bool lock_file(int fd) {
  for (int i = 0; i < kTries; ++i) {
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) return true;
    if (errno != EWOULDBLOCK) return false;
    usleep(kPauseUs);
  }
  errno = EWOULDBLOCK;
  return false;
}

std::string owner_of(int fd) {
  std::array<char, 32> text{};
  const ssize_t length = pread(fd, text.data(), text.size(), 0);
  const std::string pid(trim({text.data(), static_cast<size_t>(length > 0 ? length : 0)}));
  return pid.empty() ? "another process" : "process " + pid;
}

}  // namespace

Status make_state_dir(const std::string& path) {
  std::error_code error;
  const std::filesystem::path parent = std::filesystem::path(path).parent_path();
  if (!parent.empty()) std::filesystem::create_directories(parent, error);
  if (!error && mkdir(path.c_str(), 0700) == 0) return {};
  if (error || errno != EEXIST) {
    return fail(system_error(error ? error.value() : errno, "cannot create the directory " + path));
  }
  struct stat info{};
  if (stat(path.c_str(), &info) != 0) return fail(system_error(errno, "cannot read the directory " + path));
  if (!S_ISDIR(info.st_mode)) return fail(system_error(ENOTDIR, "cannot use " + path));
  if ((info.st_mode & (S_IWGRP | S_IWOTH)) != 0) {
    return fail(
        Reason::PermissionDenied,
        fmt::format("others may write into the directory {} (mode {:04o})", path, info.st_mode & 07777),
        fmt::format("`chmod 700 {}` if nobody else needs it, or give another --state-dir", path));
  }
  return {};
}

Result<StateLock> StateLock::take(const std::string& state_dir) {
  if (Status made = make_state_dir(state_dir); !made) return fail(made.error());
  const std::string path = state_dir + "/lock";
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return fail(system_error(errno, "cannot open " + path));
  if (!lock_file(fd)) {
    const int cause = errno;
    const std::string owner = owner_of(fd);
    close(fd);
    if (cause != EWOULDBLOCK) return fail(system_error(cause, "cannot lock " + path));
    return fail(Reason::StateLocked, fmt::format("{} already serves the state in {}", owner, state_dir),
                "use that one, stop it with `tweendeck down`, take over with `tweendeck up --replace`, or "
                "give another "
                "--state-dir");
  }
  const std::string pid = fmt::format("{}\n", getpid());
  // Only for the message above: a full disk must not keep the daemon from starting.
  if (ftruncate(fd, 0) == 0) [[maybe_unused]]
    const ssize_t ignored = pwrite(fd, pid.data(), pid.size(), 0);
  return StateLock(fd);
}

StateLock::~StateLock() {
  if (fd_ >= 0) close(fd_);
}

StateLock::StateLock(StateLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

}  // namespace tweendeck::serving

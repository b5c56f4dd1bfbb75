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

Result<StateLock> StateLock::take(const std::string& state_dir) {
  std::error_code error;
  std::filesystem::create_directories(state_dir, error);
  if (error) return fail(system_error(error.value(), "cannot create the state directory " + state_dir));
  if (chmod(state_dir.c_str(), 0700) != 0) return fail(system_error(errno, "cannot protect " + state_dir));
  const std::string path = state_dir + "/lock";
  const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return fail(system_error(errno, "cannot open " + path));
  if (!lock_file(fd)) {
    const int cause = errno;
    const std::string owner = owner_of(fd);
    close(fd);
    if (cause != EWOULDBLOCK) return fail(system_error(cause, "cannot lock " + path));
    return fail(Reason::StateLocked, fmt::format("{} already serves the state in {}", owner, state_dir),
                "use that one, stop it with `tweendeck down`, take over with `tweendeck up --replace`, or give another "
                "--state-dir");
  }
  const std::string pid = fmt::format("{}\n", getpid());
  // Only for the message above: a full disk must not keep the daemon from starting.
  if (ftruncate(fd, 0) == 0) [[maybe_unused]] const ssize_t ignored = pwrite(fd, pid.data(), pid.size(), 0);
  return StateLock(fd);
}

StateLock::~StateLock() {
  if (fd_ >= 0) close(fd_);
}

StateLock::StateLock(StateLock&& other) noexcept : fd_(std::exchange(other.fd_, -1)) {}

}  // namespace tweendeck::serving

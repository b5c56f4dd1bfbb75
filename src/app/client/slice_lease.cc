#include "app/client/slice_lease.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

namespace tweendeck::client {
namespace {

constexpr mode_t kFolderMode = 0700;
constexpr mode_t kFileMode = 0600;

std::string folder_of(const std::string& state_dir) {
  return state_dir + "/exec";
}

bool lock_whole(int fd, int operation, struct flock& lock) {
  lock = {};
  lock.l_type = F_WRLCK;
  lock.l_whence = SEEK_SET;
  return fcntl(fd, operation, &lock) == 0;
}

}  // namespace

Result<SliceLease> SliceLease::take(const std::string& state_dir, const std::string& slice_id) {
  const std::string folder = folder_of(state_dir);
  if (::mkdir(folder.c_str(), kFolderMode) != 0 && errno != EEXIST)
    return fail(system_error(errno, "cannot create " + folder));
  std::string path = folder + "/" + slice_id;
  const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, kFileMode);
  if (fd < 0) return fail(system_error(errno, "cannot open " + path));
  struct flock lock;
  if (!lock_whole(fd, F_OFD_SETLK, lock)) {
    const int error = errno;
    ::close(fd);
    if (error != EAGAIN && error != EACCES) return fail(system_error(error, "cannot lock " + path));
    return fail(Reason::AlreadyExists, "another program runs under the name " + slice_id,
                "use another --name");
  }
  return SliceLease(fd, std::move(path));
}

SliceLease::SliceLease(SliceLease&& other) noexcept
    : fd_(std::exchange(other.fd_, -1)), path_(std::move(other.path_)) {}

SliceLease::~SliceLease() {
  if (fd_ < 0) return;
  ::unlink(path_.c_str());
  ::close(fd_);
}

bool lease_is_held(const std::string& state_dir, const std::string& slice_id) {
  const std::string path = folder_of(state_dir) + "/" + slice_id;
  const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return false;
  struct flock lock;
  const bool held = lock_whole(fd, F_OFD_GETLK, lock) && lock.l_type != F_UNLCK;
  ::close(fd);
  if (!held) ::unlink(path.c_str());
  return held;
}

}  // namespace tweendeck::client

#include "app/client/slice_lease.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <filesystem>
#include <utility>
#include <vector>

#include "device/slice_table.h"

namespace tweendeck::client {
namespace {

constexpr mode_t kFolderMode = 0700;
constexpr mode_t kFileMode = 0600;
// Who looks whether a lease is held has the lock for a moment.
constexpr int kTries = 20;
constexpr useconds_t kPauseUs = 1000;

std::string folder_of(const std::string& state_dir) {
  return state_dir + "/exec";
}

enum class Lock : uint8_t { Ours, Others, Failed };

Lock try_lock(int fd) {
  struct flock whole{};
  whole.l_type = F_WRLCK;
  whole.l_whence = SEEK_SET;
  if (fcntl(fd, F_OFD_SETLK, &whole) == 0) return Lock::Ours;
  return errno == EAGAIN || errno == EACCES ? Lock::Others : Lock::Failed;
}

bool is_at(int fd, const std::string& path) {
  struct stat ours{}, there{};
  return ::fstat(fd, &ours) == 0 && ::lstat(path.c_str(), &there) == 0 && ours.st_ino == there.st_ino;
}

}  // namespace

Result<SliceLease> SliceLease::take(const std::string& state_dir, const std::string& slice_id) {
  if (Status valid = device::check_slice_id(slice_id); !valid) return fail(valid.error());
  const std::string folder = folder_of(state_dir);
  if (::mkdir(folder.c_str(), kFolderMode) != 0 && errno != EEXIST)
    return fail(system_error(errno, "cannot create " + folder));
  std::string path = folder + "/" + slice_id;
  for (int tries = 0;;) {
    const int fd = ::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, kFileMode);
    if (fd < 0) return fail(system_error(errno, "cannot open " + path));
    const Lock lock = try_lock(fd);
    const int error = errno;
    if (lock == Lock::Ours && is_at(fd, path)) return SliceLease(fd, std::move(path));
    ::close(fd);
    if (lock == Lock::Ours) continue;  // it was removed as nobody's between the open and the lock
    if (lock == Lock::Failed) return fail(system_error(error, "cannot lock " + path));
    if (++tries == kTries) {
      return fail(Reason::AlreadyExists, "another program runs under the name " + slice_id,
                  "use another --name");
    }
    ::usleep(kPauseUs);
  }
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
  const Lock lock = try_lock(fd);
  if (lock == Lock::Ours && is_at(fd, path)) ::unlink(path.c_str());
  ::close(fd);
  return lock == Lock::Others;
}

void remove_stale_leases(const std::string& state_dir) {
  std::error_code error;
  std::vector<std::string> names;
  for (std::filesystem::directory_iterator it(folder_of(state_dir), error), end; !error && it != end;
       it.increment(error)) {
    names.push_back(it->path().filename().string());
  }
  for (const std::string& name : names) (void)lease_is_held(state_dir, name);
}

}  // namespace tweendeck::client

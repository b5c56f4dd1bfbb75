#include "device/cgroup/kernel.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

namespace tweendeck::device {
namespace {

constexpr size_t kMaxFileBytes = 1 << 20;
constexpr mode_t kFolderMode = 0755;

}  // namespace

int Kernel::read(const std::string& path, std::string& out) {
  out.clear();
  int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return errno;
  char buffer[4096];
  int result = 0;
  while (out.size() < kMaxFileBytes) {
    ssize_t got = ::read(fd, buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) result = errno;
    if (got <= 0) break;
    out.append(buffer, static_cast<size_t>(got));
  }
  ::close(fd);
  return result;
}

int Kernel::write(const std::string& path, std::string_view text) {
  int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  if (fd < 0) return errno;
  // One write: the kernel takes a control file's new value from a single call.
  ssize_t written = ::write(fd, text.data(), text.size());
  int result = written < 0 ? errno : static_cast<size_t>(written) == text.size() ? 0 : EIO;
  ::close(fd);
  return result;
}

int Kernel::make_folder(const std::string& path) {
  return ::mkdir(path.c_str(), kFolderMode) == 0 ? 0 : errno;
}

int Kernel::remove_folder(const std::string& path) {
  return ::rmdir(path.c_str()) == 0 ? 0 : errno;
}

std::vector<std::string> Kernel::folders(const std::string& path) {
  std::vector<std::string> names;
  DIR* folder = ::opendir(path.c_str());
  if (folder == nullptr) return names;
  while (const dirent* entry = ::readdir(folder)) {
    std::string name = entry->d_name;
    if (entry->d_type == DT_DIR && name != "." && name != "..") names.push_back(std::move(name));
  }
  ::closedir(folder);
  std::ranges::sort(names);
  return names;
}

int Kernel::kill(pid_t pid) {
  return ::kill(pid, SIGKILL) == 0 ? 0 : errno;
}

void Kernel::pause(Nanos duration) {
  timespec wait{.tv_sec = duration / kSecond, .tv_nsec = duration % kSecond};
  ::nanosleep(&wait, nullptr);
}

}  // namespace tweendeck::device

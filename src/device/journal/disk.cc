#include "device/journal/disk.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <utility>

namespace tweendeck::device {
namespace {

constexpr mode_t kFileMode = 0600;

}  // namespace

Fd& Fd::operator=(Fd&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

Fd::~Fd() {
  if (fd_ >= 0) ::close(fd_);
}

Result<std::string> Disk::read(const std::string& path, size_t max_bytes) {
  Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
  if (fd.get() < 0) return fail(system_error(errno, "opening " + path));
  std::string bytes;
  char buffer[16384];
  for (;;) {
    ssize_t got = ::read(fd.get(), buffer, sizeof buffer);
    if (got < 0 && errno == EINTR) continue;
    if (got < 0) return fail(system_error(errno, "reading " + path));
    if (got == 0) return bytes;
    bytes.append(buffer, static_cast<size_t>(got));
    if (bytes.size() > max_bytes) {
      return fail(Reason::LimitExceeded, fmt::format("{} is larger than {} bytes", path, max_bytes));
    }
  }
}

Result<int> Disk::open(const std::string& path, bool fresh) {
  int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC | (fresh ? O_CREAT | O_TRUNC : 0), kFileMode);
  if (fd < 0) return fail(system_error(errno, "opening " + path));
  return fd;
}

Status Disk::write_at(int fd, uint64_t offset, std::string_view bytes) {
  while (!bytes.empty()) {
    ssize_t written = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return fail(system_error(errno, fmt::format("writing {} bytes", bytes.size())));
    bytes.remove_prefix(static_cast<size_t>(written));
    offset += static_cast<uint64_t>(written);
  }
  return {};
}

Status Disk::sync(int fd) {
  if (::fdatasync(fd) != 0) return fail(system_error(errno, "syncing to disk"));
  return {};
}

Status Disk::truncate(int fd, uint64_t bytes) {
  if (::ftruncate(fd, static_cast<off_t>(bytes)) != 0) {
    return fail(system_error(errno, fmt::format("truncating to {} bytes", bytes)));
  }
  return {};
}

Status Disk::rename(const std::string& from, const std::string& to) {
  if (::rename(from.c_str(), to.c_str()) != 0) return fail(system_error(errno, "renaming " + from));
  return {};
}

void Disk::remove(const std::string& path) {
  ::unlink(path.c_str());
}

Status Disk::sync_folder_of(const std::string& path) {
  size_t slash = path.rfind('/');
  std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
  Fd fd(::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (fd.get() < 0) return fail(system_error(errno, "opening " + folder));
  if (::fsync(fd.get()) != 0) return fail(system_error(errno, "syncing " + folder));
  return {};
}

}  // namespace tweendeck::device

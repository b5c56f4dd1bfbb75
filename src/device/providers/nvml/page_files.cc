#include "device/providers/nvml/page_files.h"

#include "vgpu/page.h"

namespace tweendeck::device::nvml {

Marks::Marks(const std::string& path) : fd_(::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW)) {}

Marks::~Marks() {
  if (fd_ >= 0) ::close(fd_);
}

std::optional<bool> Marks::held(uint32_t slot) const {
  struct flock range{};
  range.l_type = F_WRLCK;
  range.l_whence = SEEK_SET;
  range.l_start = static_cast<off_t>(TW_VGPU_MARKS_OFFSET) + slot;
  range.l_len = 1;
  if (fd_ < 0 || fcntl(fd_, F_OFD_GETLK, &range) != 0) return std::nullopt;
  return range.l_type != F_UNLCK;
}

Status replace_file(const std::string& path, const void* head, size_t head_size, size_t total_size,
                    mode_t mode) {
  const std::string temporary = path + ".new";
  ::unlink(temporary.c_str());
  const int fd = ::open(temporary.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
  if (fd < 0) return fail(system_error(errno, "cannot create " + temporary));
  Status status;
  // Space is taken now: a hole that cannot be filled later would end the tenant with SIGBUS.
  if (const int code = posix_fallocate(fd, 0, static_cast<off_t>(total_size)); code != 0) {
    status =
        fail(system_error(code, "cannot reserve " + std::to_string(total_size) + " bytes for " + temporary));
  } else if (pwrite(fd, head, head_size, 0) != static_cast<ssize_t>(head_size)) {
    status = fail(system_error(errno, "cannot write " + temporary));
  } else if (fchmod(fd, mode) != 0) {  // whatever the umask is
    status = fail(system_error(errno, "cannot set the mode of " + temporary));
  } else if (::rename(temporary.c_str(), path.c_str()) != 0) {
    status = fail(system_error(errno, "cannot rename " + temporary));
  }
  ::close(fd);
  if (!status) ::unlink(temporary.c_str());
  return status;
}

}  // namespace tweendeck::device::nvml

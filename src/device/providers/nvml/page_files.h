// The files of the two pages: mapped whole, replaced whole, and the marks behind the usage page's end. Blocking.
#pragma once

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>

#include "base/result.h"

namespace tweendeck::device::nvml {

// A file mapped whole. Unmaps itself.
template <class Page>
class Mapped {
 public:
  static Result<Mapped> open(const std::string& path, bool writable) {
    const int fd = ::open(path.c_str(), (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0) return fail(system_error(errno, "cannot open " + path));
    struct stat info{};
    if (fstat(fd, &info) != 0 || static_cast<uint64_t>(info.st_size) != sizeof(Page)) {
      ::close(fd);
      return fail(Reason::StateCorrupt, path + " does not have the size of a page",
                  "remove the slice and make it again");
    }
    void* memory =
        mmap(nullptr, sizeof(Page), writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);
    const int error = errno;
    ::close(fd);
    if (memory == MAP_FAILED) return fail(system_error(error, "cannot map " + path));
    return Mapped(static_cast<Page*>(memory));
  }
  Mapped(Mapped&& other) noexcept : page_(std::exchange(other.page_, nullptr)) {}
  Mapped& operator=(Mapped&&) = delete;
  ~Mapped() {
    if (page_) munmap(page_, sizeof(Page));
  }
  Page* operator->() const { return page_; }
  Page& operator*() const { return *page_; }
  Page* get() const { return page_; }

 private:
  explicit Mapped(Page* page) : page_(page) {}
  Page* page_;
};

// Who holds the marks of a usage page's slots (page.h).
class Marks {
 public:
  explicit Marks(const std::string& path);
  Marks(const Marks&) = delete;
  Marks& operator=(const Marks&) = delete;
  ~Marks();
  // Nothing where there are no such locks.
  std::optional<bool> held(uint32_t slot) const;

 private:
  int fd_;
};

// Writes all bytes beside `path` and renames, so that a reader or a crash never sees half a page.
Status replace_file(const std::string& path, const void* head, size_t head_size, size_t total_size,
                    mode_t mode);

}  // namespace tweendeck::device::nvml

// Disk: the few file operations that the journal's durability rests on, behind one interface so that tests
// can fill the disk or stop at any step. The base class is the real thing. Stateless; safe from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace tweendeck::device {

class Disk {
 public:
  virtual ~Disk() = default;

  virtual Result<std::string> read(const std::string& path, size_t max_bytes);  // LimitExceeded when larger
  virtual Result<int> open(const std::string& path,
                           bool fresh);  // read-write, close-on-exec; fresh: created empty
  virtual Status write_at(int fd, uint64_t offset, std::string_view bytes);
  virtual Status sync(int fd);
  virtual Status truncate(int fd, uint64_t bytes);
  virtual Status rename(const std::string& from, const std::string& to);
  virtual void remove(const std::string& path);            // a file of no value; failure changes nothing
  virtual Status sync_folder_of(const std::string& path);  // makes a rename or creation in it durable
};

// Owns a file descriptor.
class Fd {
 public:
  explicit Fd(int fd = -1) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  Fd& operator=(Fd&& other) noexcept;
  ~Fd();
  int get() const { return fd_; }

 private:
  int fd_;
};

}  // namespace tweendeck::device

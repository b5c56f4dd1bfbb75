// The lock of a state directory: one daemon per state. Held until destroyed or the process ends, however it ends.
#pragma once

#include <string>

#include "base/result.h"

namespace tweendeck::serving {

class StateLock {
 public:
  // Makes the directory (0700) when it is missing. Errors: StateLocked (names the owner's pid), PermissionDenied.
  static Result<StateLock> take(const std::string& state_dir);
  ~StateLock();
  StateLock(StateLock&& other) noexcept;
  StateLock& operator=(StateLock&&) = delete;

 private:
  explicit StateLock(int fd) : fd_(fd) {}
  int fd_;
};

}  // namespace tweendeck::serving

// The lock of a state directory: one daemon per state. Held until destroyed or the process ends, however it
// ends.
#pragma once

#include <string>

#include "base/result.h"

namespace tweendeck::serving {

// Makes a private directory (0700), or takes one that is there as it is.
// Errors: PermissionDenied when others may write into one that is there.
Status make_state_dir(const std::string& path);

class StateLock {
 public:
  // Calls make_state_dir(). Errors: its own, StateLocked (names the owner's pid), PermissionDenied.
  static Result<StateLock> take(const std::string& state_dir);
  ~StateLock();
  StateLock(StateLock&& other) noexcept;
  StateLock& operator=(StateLock&&) = delete;

 private:
  explicit StateLock(int fd) : fd_(fd) {}
  int fd_;
};

}  // namespace tweendeck::serving

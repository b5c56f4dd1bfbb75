// A lease on a slice that `tweendeck exec` holds: a locked file <state>/exec/<slice>. The kernel gives the
// lock back when the process ends, however it ends, so whoever finds the file unlocked knows that nobody uses
// the slice any more. Blocking calls of some microseconds; safe from any thread.
#pragma once

#include <string>

#include "base/result.h"

namespace tweendeck::client {

class SliceLease {
 public:
  // Makes the file and locks it. Errors: InvalidArgument (no name of a slice), AlreadyExists (somebody holds it),
  // PermissionDenied, IoError.
  static Result<SliceLease> take(const std::string& state_dir, const std::string& slice_id);
  SliceLease(SliceLease&& other) noexcept;
  SliceLease& operator=(SliceLease&&) = delete;
  ~SliceLease();  // gives it back and removes the file

 private:
  SliceLease(int fd, std::string path) : fd_(fd), path_(std::move(path)) {}
  int fd_;
  std::string path_;
};

// Whether a living process holds the lease. A file that nobody holds is removed.
bool lease_is_held(const std::string& state_dir, const std::string& slice_id);
// Removes the files that nobody holds.
void remove_stale_leases(const std::string& state_dir);

}  // namespace tweendeck::client

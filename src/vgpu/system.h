// The operating system as vgpu needs it, so that tests can stand in for it. Times are CLOCK_MONOTONIC
// nanoseconds.
#pragma once

#include <stdint.h>

namespace tweendeck::vgpu {

struct System {
  uint64_t (*now_ns)();
  void (*sleep_ns)(uint64_t ns);
  // Owner word (page.h) of the calling process, without the moving-in mark.
  uint64_t (*self)();
  // False only when the process that the word names has certainly ended.
  bool (*alive)(uint64_t owner);
  // Inode of the caller's pid namespace, 0 = unknown.
  uint64_t (*pid_namespace)();
};

extern const System kLinux;

}  // namespace tweendeck::vgpu

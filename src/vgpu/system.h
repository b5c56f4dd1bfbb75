// The operating system as vgpu needs it, so that tests can stand in for it. Times are CLOCK_MONOTONIC
// nanoseconds.
#pragma once

#include <stdint.h>

namespace tweendeck::vgpu {

// Who holds a slot's owner mark (page.h), which the kernel takes back when its holder ends.
enum class Mark : uint8_t { Unknown, Free, Mine, Others };

inline Mark unknown_mark(uint32_t) {
  return Mark::Unknown;
}

struct System {
  uint64_t (*now_ns)();
  void (*sleep_ns)(uint64_t ns);
  // Owner word (page.h) of the calling process, without the moving-in mark.
  uint64_t (*self)();
  // False only when the process that the word names has certainly ended.
  bool (*alive)(uint64_t owner);
  // Inode of the caller's pid namespace, 0 = unknown.
  uint64_t (*pid_namespace)();
  // Takes the mark of a slot: Mine, Others, or Unknown where there are no marks.
  Mark (*take_mark)(uint32_t slot) = unknown_mark;
  // Looks at the mark of another's slot: Free, Others or Unknown.
  Mark (*see_mark)(uint32_t slot) = unknown_mark;
  void (*drop_mark)() = [] {};  // the one that was taken
  // Between the two, neither a signal's handler nor cancellation ends what the thread is at.
  void (*begin_undisturbed)() = [] {};
  void (*end_undisturbed)() = [] {};
};

extern const System kLinux;

// The usage page's file, for kLinux's marks; the path stays valid. A forked child has not inherited its
// parent's mark.
void set_mark_file(const char* path);
void forget_mark();

}  // namespace tweendeck::vgpu

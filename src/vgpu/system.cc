#include "vgpu/system.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "vgpu/page.h"

namespace tweendeck::vgpu {
namespace {

constexpr uint64_t kSecond = 1'000'000'000;

uint64_t now_ns() {
  timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<uint64_t>(now.tv_sec) * kSecond + static_cast<uint64_t>(now.tv_nsec);
}

void sleep_ns(uint64_t ns) {
  const timespec span{static_cast<time_t>(ns / kSecond), static_cast<long>(ns % kSecond)};
  nanosleep(&span, nullptr);
}

// Writes "/proc/<pid>/stat"; no stdio, because this runs inside other people's processes.
void stat_path(uint32_t pid, char (&out)[32]) {
  char digits[12];
  int count = 0;
  do digits[count++] = static_cast<char>('0' + pid % 10);
  while (pid /= 10);
  memcpy(out, "/proc/", 6);
  for (int i = 0; i < count; ++i) out[6 + i] = digits[count - 1 - i];
  memcpy(out + 6 + count, "/stat", 6);
}

struct ProcStat {
  bool found = false;
  char state = 0;
  uint64_t threads = 0;
  uint64_t start_ticks = 0;
};

ProcStat read_stat(uint32_t pid) {
  ProcStat result;
  char path[32], text[1024];
  stat_path(pid, path);
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return result;
  const ssize_t size = read(fd, text, sizeof(text) - 1);
  close(fd);
  if (size <= 0) return result;
  text[size] = 0;
  // The name in parentheses may hold anything, so the fields are counted from the last one: state is field 3.
  const char* at = strrchr(text, ')');
  if (!at || at[1] == 0) return result;
  at += 2;
  result.state = *at;
  for (int field = 3; *at; ++field) {
    uint64_t value = 0;
    const char* digit = at;
    while (*digit >= '0' && *digit <= '9') value = value * 10 + static_cast<uint64_t>(*digit++ - '0');
    if (field == 20) result.threads = value;
    if (field == 22) {
      result.start_ticks = value;
      result.found = true;
      return result;
    }
    while (*at && *at != ' ') ++at;
    while (*at == ' ') ++at;
  }
  return result;
}

uint64_t self() {
  const auto pid = static_cast<uint32_t>(getpid());
  return tw_vgpu_owner(pid, read_stat(pid).start_ticks, 0);
}

bool alive(uint64_t owner) {
  const uint32_t pid = tw_vgpu_owner_pid(owner);
  if (kill(static_cast<pid_t>(pid), 0) != 0 && errno == ESRCH) return false;
  const ProcStat stat = read_stat(pid);
  if (!stat.found) return true;  // /proc is hidden or absent: only the kernel's ESRCH counts
  if ((stat.start_ticks & 0x7fffffffu) != tw_vgpu_owner_start(owner)) return false;
  // A zombie has given everything back, unless only its main thread has ended.
  return !((stat.state == 'Z' || stat.state == 'X') && stat.threads <= 1);
}

// The link reads "pid:[4026531836]". (stat() itself would need a glibc newer than the library wants to.)
uint64_t pid_namespace() {
  char text[64];
  const ssize_t size = readlink("/proc/self/ns/pid", text, sizeof(text));
  uint64_t inode = 0;
  for (ssize_t i = 0; i < size; ++i) {
    if (text[i] >= '0' && text[i] <= '9') inode = inode * 10 + static_cast<uint64_t>(text[i] - '0');
  }
  return inode;
}

const char* g_mark_path;
void* g_mark;  // what keeps this process's lock
constexpr size_t kPage = 4096;

struct flock byte_of(uint32_t slot) {
  struct flock range = {};
  range.l_type = F_WRLCK;
  range.l_whence = SEEK_SET;
  range.l_start = static_cast<off_t>(TW_VGPU_MARKS_OFFSET + slot);
  range.l_len = 1;
  return range;
}

int open_mark_file() {
  return g_mark_path ? open(g_mark_path, O_RDWR | O_CLOEXEC) : -1;
}

// A lock of an open file description lasts as long as that, and a mapping keeps it open: so the lock survives
// a program that closes files it does not know, and ends with the program image, by exec or exit. Children do
// not inherit the mapping, whatever way they are made.
Mark take_mark(uint32_t slot) {
  const int file = open_mark_file();
  if (file < 0) return Mark::Unknown;
  struct flock range = byte_of(slot);
  Mark mark = Mark::Unknown;
  if (fcntl(file, F_OFD_SETLK, &range) == 0) {
    void* const kept = mmap(nullptr, kPage, PROT_NONE, MAP_SHARED, file, 0);
    if (kept != MAP_FAILED && madvise(kept, kPage, MADV_DONTFORK) == 0) {
      g_mark = kept;
      mark = Mark::Mine;
    } else if (kept != MAP_FAILED) {
      munmap(kept, kPage);
    }
  } else if (errno == EAGAIN || errno == EACCES) {
    mark = Mark::Others;
  }
  close(file);
  return mark;
}

Mark see_mark(uint32_t slot) {
  const int file = open_mark_file();
  if (file < 0) return Mark::Unknown;
  struct flock range = byte_of(slot);
  const bool asked = fcntl(file, F_OFD_GETLK, &range) == 0;
  close(file);
  if (!asked) return Mark::Unknown;
  return range.l_type == F_UNLCK ? Mark::Free : Mark::Others;
}

void drop_mark() {
  if (g_mark) munmap(g_mark, kPage);
  g_mark = nullptr;
}

__attribute__((tls_model("initial-exec"))) thread_local sigset_t t_signals;
__attribute__((tls_model("initial-exec"))) thread_local int t_cancel_state;

void begin_undisturbed() {
  sigset_t all;
  sigfillset(&all);
  sigprocmask(SIG_BLOCK, &all, &t_signals);
  pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &t_cancel_state);
}

void end_undisturbed() {
  pthread_setcancelstate(t_cancel_state, nullptr);
  sigprocmask(SIG_SETMASK, &t_signals, nullptr);
}

}  // namespace

const System kLinux{now_ns,    sleep_ns,          self,           alive, pid_namespace, take_mark, see_mark,
                    drop_mark, begin_undisturbed, end_undisturbed};

void set_mark_file(const char* path) {
  g_mark_path = path;
}

void forget_mark() {
  g_mark = nullptr;
}

}  // namespace tweendeck::vgpu

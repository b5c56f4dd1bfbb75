#include "vgpu/preload/pages.h"

#include <fcntl.h>
#include <linux/stat.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vgpu/hami.h"
#include "vgpu/system.h"

namespace tweendeck::vgpu {
namespace {

constexpr size_t kMaxPath = 4096;
constexpr int kMakeTries = 3;
constexpr int kInfoLevel = 3;

char g_limits_path[kMaxPath];
char g_usage_path[kMaxPath];
char g_visible[kMaxPath];
bool g_said_broken;

HamiLimits g_hami;
tw_vgpu_limits_page g_own_limits;

void say(const char* const (&parts)[4]) {
  char line[512];
  size_t size = 0;
  for (const char* part : parts) {
    for (; *part && size < sizeof(line) - 1; ++part) line[size++] = *part;
  }
  line[size++] = '\n';
  if (write(STDERR_FILENO, line, size) < 0) return;
}

// A path that is cut would name another file; an empty one cannot be opened.
void copy_text(const char* text, char (&out)[kMaxPath]) {
  const size_t size = strnlen(text, kMaxPath);
  if (size < kMaxPath) memcpy(out, text, size + 1);
}

bool copy_path(const char* variable, char (&out)[kMaxPath]) {
  const char* value = getenv(variable);
  if (!value || !*value) return false;
  copy_text(value, out);
  return true;
}

// Appends; a path that grows too long becomes empty, which cannot be opened.
void append(char (&path)[kMaxPath], const char* text) {
  const size_t have = strlen(path), more = strlen(text);
  if (have + more >= kMaxPath) {
    path[0] = 0;
    return;
  }
  memcpy(path + have, text, more + 1);
}

void append_number(char (&path)[kMaxPath], uint64_t number) {
  char text[2 + 16] = ".";
  for (int i = 0; i < 16; ++i) text[1 + i] = "0123456789abcdef"[number >> (60 - 4 * i) & 15];
  append(path, text);
}

void* map_file(const char* path, size_t size, bool writable, int flags) {
  const int fd = open(path, (writable ? O_RDWR : O_RDONLY) | O_CLOEXEC | flags);
  if (fd < 0) return nullptr;
  void* memory = MAP_FAILED;
  if (lseek(fd, 0, SEEK_END) >= static_cast<off_t>(size)) {
    memory = mmap(nullptr, size, writable ? PROT_READ | PROT_WRITE : PROT_READ, MAP_SHARED, fd, 0);
  }
  close(fd);
  return memory == MAP_FAILED ? nullptr : memory;
}

// Which boot of the machine this is; pids and times in a page mean nothing in another.
uint64_t boot() {
  char text[64] = {};
  const int fd = open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
  const ssize_t size = fd < 0 ? 0 : read(fd, text, sizeof(text));
  if (fd >= 0) close(fd);
  uint64_t hash = 0xcbf29ce484222325ull;
  for (ssize_t i = 0; i < size; ++i) hash = (hash ^ static_cast<unsigned char>(text[i])) * 0x100000001b3ull;
  return hash | 1;
}

bool fits(const tw_vgpu_usage_page* page, uint64_t binding) {
  return page && page->magic == TW_VGPU_USAGE_MAGIC && page->abi_min <= TW_VGPU_ABI &&
         page->binding == binding;
}

// A whole page appears under its name at once, whoever of several processes is first; nobody waits.
void make_usage_page(const char* path, uint64_t binding, mode_t mode) {
  char draft[kMaxPath];
  memcpy(draft, path, sizeof(draft));
  append_number(draft, static_cast<uint64_t>(getpid()));
  const int fd = open(draft, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
  if (fd < 0) return;
  const tw_vgpu_page_head head = tw_vgpu_usage_head(binding);
  // With all of its blocks: a hole that a full disk cannot fill would end whoever touches it with SIGBUS.
  if (posix_fallocate(fd, 0, static_cast<off_t>(head.size)) == 0 &&
      pwrite(fd, &head, sizeof(head), 0) == sizeof(head)) {
    if (fchmod(fd, mode) == 0 && link(draft, path) != 0) {
      // Somebody else was first, or the folder is not ours to write; the open tells.
    }
  }
  unlink(draft);
  close(fd);
}

// Other users of the container share a page that the operator names; one that we choose is the user's own.
tw_vgpu_usage_page* open_shared(const char* path, uint64_t binding, mode_t mode) {
  for (int tries = 0; tries < kMakeTries; ++tries) {
    if (void* page = map_file(path, sizeof(tw_vgpu_usage_page), true, O_NOFOLLOW)) {
      return static_cast<tw_vgpu_usage_page*>(page);
    }
    make_usage_page(path, binding, mode);
  }
  return nullptr;
}

// In a folder that everybody may write to, the file must be this user's and closed to others. The system call itself,
// because old and new C libraries export fstat under different names.
bool is_own(const char* path) {
  constexpr unsigned kOthersMode = 077;
  struct statx status = {};
  const long result =
      syscall(SYS_statx, AT_FDCWD, path, AT_SYMLINK_NOFOLLOW, STATX_UID | STATX_MODE, &status);
  return result == 0 && status.stx_uid == geteuid() && (status.stx_mode & kOthersMode) == 0;
}

tw_vgpu_usage_page* open_hami_usage(uint64_t binding) {
  constexpr mode_t kEverybody = 0666, kOwner = 0600;
  if (g_usage_path[0]) {
    append(g_usage_path, ".tweendeck");
    append_number(g_usage_path, binding);
    return open_shared(g_usage_path, binding, kEverybody);
  }
  const char* const folders[] = {"/dev/shm/", "/tmp/"};
  const uint64_t key[] = {geteuid(), kLinux.pid_namespace(), binding};
  for (const char* folder : folders) {
    g_usage_path[0] = 0;
    append(g_usage_path, folder);
    append(g_usage_path, "tweendeck-vgpu");
    for (const uint64_t part : key) append_number(g_usage_path, part);
    tw_vgpu_usage_page* const page = open_shared(g_usage_path, binding, kOwner);
    if (page && is_own(g_usage_path)) return page;
  }
  return nullptr;
}

bool open_hami(Pages& out) {
  if (g_hami.bad_variable[0]) {
    const bool memory = strstr(g_hami.bad_variable, "MEMORY") != nullptr;
    complain(g_hami.bad_variable, memory ? " is no limit (write bytes, or a number with k, m or g)"
                                         : " is no limit (write percent as a whole number)");
    return false;
  }
  const uint64_t binding = boot();
  tw_vgpu_usage_page* const page = open_hami_usage(binding);
  if (!fits(page, binding)) {
    complain("cannot make or share the usage page ", g_usage_path);
    return false;
  }
  if (g_hami.oversubscribe && g_hami.log_level > 0) {
    say({"tweendeck-vgpu: ", "CUDA_OVERSUBSCRIBE has no effect: ", "memory above the limit is refused", ""});
  }
  if (g_hami.log_level >= kInfoLevel)
    say({"tweendeck-vgpu: ", "limits of HAMi's variables; usage page ", g_usage_path, ""});
  g_own_limits = {};
  const tw_vgpu_page_head head = tw_vgpu_limits_head(binding);
  memcpy(static_cast<void*>(&g_own_limits), &head, sizeof(head));
  g_own_limits.boot = binding;
  g_own_limits.sets[0] = g_own_limits.sets[1] = g_hami.set;
  out = {&g_own_limits, page, g_usage_path, &g_own_limits};
  return true;
}

}  // namespace

void complain(const char* what, const char* about) {
  if (__atomic_exchange_n(&g_said_broken, true, __ATOMIC_RELAXED)) return;
  say({"tweendeck-vgpu: ", what, about, "; the GPU is not available to this process"});
}

bool read_environment() {
  const bool limits = copy_path(TW_VGPU_ENV_LIMITS, g_limits_path);
  const bool usage = copy_path(TW_VGPU_ENV_USAGE, g_usage_path);
  if (limits || usage) return true;
  g_hami = read_hami_limits([](const char* variable) -> const char* { return getenv(variable); });
  if (!g_hami.asked) return false;
  if (g_hami.shared_cache) copy_text(g_hami.shared_cache, g_usage_path);
  if (g_hami.visible_devices) copy_text(g_hami.visible_devices, g_visible);
  return true;
}

const char* visible_devices() {
  return g_hami.visible_devices ? g_visible : nullptr;
}

bool open_pages(Pages& out) {
  if (g_hami.asked) return open_hami(out);
  const auto* limits =
      static_cast<const tw_vgpu_limits_page*>(map_file(g_limits_path, sizeof(tw_vgpu_limits_page), false, 0));
  if (!limits || limits->magic != TW_VGPU_LIMITS_MAGIC || limits->abi_min > TW_VGPU_ABI ||
      limits->binding == 0) {
    complain("no valid limits page at ", g_limits_path);
    return false;
  }
  auto* page = static_cast<tw_vgpu_usage_page*>(map_file(g_usage_path, sizeof(tw_vgpu_usage_page), true, 0));
  if (!fits(page, limits->binding)) {
    complain("no usage page of this slice at ", g_usage_path);
    return false;
  }
  out = {limits, page, g_usage_path, nullptr};
  return true;
}

}  // namespace tweendeck::vgpu

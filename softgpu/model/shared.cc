#include "softgpu/model/shared.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cstring>
#include <utility>

#include "softgpu/model/sleep.h"

namespace tweendeck::softgpu {
namespace {

constexpr mode_t kFileMode = 0666;

uint64_t clock_ns(clockid_t id) {
  timespec time{};
  clock_gettime(id, &time);
  return static_cast<uint64_t>(time.tv_sec) * 1'000'000'000 + static_cast<uint64_t>(time.tv_nsec);
}

std::string errno_text(const std::string& what) {
  return what + ": " + strerror(errno);
}

// The kernel's id of this boot, as two words.
void read_boot_id(uint64_t out[2]) {
  char text[64] = {};
  const int fd = ::open("/proc/sys/kernel/random/boot_id", O_RDONLY | O_CLOEXEC);
  if (fd >= 0) {
    if (read(fd, text, sizeof text - 1) < 0) text[0] = 0;
    close(fd);
  }
  char hex[33] = {};
  for (size_t i = 0, n = 0; text[i] != 0 && n < 32; ++i) {
    if (text[i] != '-' && text[i] != '\n') hex[n++] = text[i];
  }
  out[1] = strtoull(hex + 16, nullptr, 16);
  hex[16] = 0;
  out[0] = strtoull(hex, nullptr, 16);
}

void init_header(Header& header, const CreateOptions& options) {
  header.layout_version.store(kLayoutVersion);
  header.file_bytes = file_bytes(options.cards.size());
  header.card_count = options.cards.size();
  header.clock_mode = static_cast<uint64_t>(options.clock);
  read_boot_id(header.boot_id);
  header.start_clients = options.start_clients;
  header.slice_ns = options.slice_ns;
  header.wait_serial.store(kMaxClients);  // serials below are ranks of clients at the start barrier
  header.started.store(options.start_clients == 0 ? 1 : 0);
  header.wall_offset_ns = clock_ns(CLOCK_REALTIME) - (options.clock == ClockMode::Real ? monotonic_ns() : 0);
  pthread_mutexattr_t attributes;
  pthread_mutexattr_init(&attributes);
  pthread_mutexattr_setpshared(&attributes, PTHREAD_PROCESS_SHARED);
  pthread_mutexattr_setrobust(&attributes, PTHREAD_MUTEX_ROBUST);
  pthread_mutex_init(&header.lock, &attributes);
  pthread_mutexattr_destroy(&attributes);
  header.magic.store(kMagic);
}

struct flock mark_range(uint32_t slot) {
  struct flock range{};
  range.l_type = F_WRLCK;
  range.l_whence = SEEK_SET;
  range.l_start = static_cast<off_t>(kMarkOffset + slot);
  range.l_len = 1;
  return range;
}

std::string check(const Header& header, uint64_t size) {
  if (header.magic.load() != kMagic) return "is not a software GPU's device model";
  if (header.layout_version.load() != kLayoutVersion) {
    return "has layout version " + std::to_string(header.layout_version.load()) + ", this program knows " +
           std::to_string(kLayoutVersion) + "; create it again";
  }
  if (header.card_count == 0 || header.card_count > kMaxCards || header.file_bytes != size ||
      size != file_bytes(header.card_count)) {
    return "is damaged: its size does not match its " + std::to_string(header.card_count) + " cards";
  }
  uint64_t boot_id[2];
  read_boot_id(boot_id);
  if (memcmp(boot_id, header.boot_id, sizeof boot_id) != 0) {
    return "was made before this machine's last boot; create it again";
  }
  return {};
}

}  // namespace

uint64_t monotonic_ns() {
  return clock_ns(CLOCK_MONOTONIC);
}

std::expected<void, std::string> Shared::create(const std::string& path, const CreateOptions& options) {
  const std::string temporary = path + ".tmp." + std::to_string(getpid());
  const int fd = ::open(temporary.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, kFileMode);
  if (fd < 0) return std::unexpected(errno_text("cannot create " + temporary));
  const uint64_t size = file_bytes(options.cards.size());
  std::string error;
  void* base = MAP_FAILED;
  // All of its blocks now: a hole that a full disk cannot fill would end whoever touches it with SIGBUS.
  if (const int code = posix_fallocate(fd, 0, static_cast<off_t>(size)); code != 0) {
    errno = code;
    error = errno_text("cannot reserve " + std::to_string(size) + " bytes for " + temporary);
  } else if (fchmod(fd, kFileMode) != 0) {
    error = errno_text("cannot set the mode of " + temporary);
  } else if (base = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0); base == MAP_FAILED) {
    error = errno_text("cannot map " + temporary);
  } else {
    init_header(*static_cast<Header*>(base), options);
    for (size_t i = 0; i < options.cards.size(); ++i) {
      Card& card = *reinterpret_cast<Card*>(static_cast<char*>(base) + kCardsOffset + i * kCardStride);
      card.info = options.cards[i];
      card.next_sample_ns.store(options.clock == ClockMode::Real
                                    ? (monotonic_ns() / kSamplePeriodNs + 1) * kSamplePeriodNs
                                    : kSamplePeriodNs);
    }
    if (link(temporary.c_str(), path.c_str()) != 0) error = errno_text("cannot create " + path);
  }
  if (base != MAP_FAILED) munmap(base, size);
  close(fd);
  unlink(temporary.c_str());
  if (!error.empty()) return std::unexpected(error);
  return {};
}

std::expected<Shared, std::string> Shared::open(const std::string& path) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) return std::unexpected(errno_text("cannot open the device model " + path));
  struct stat status{};
  void* base = MAP_FAILED;
  std::string error;
  if (fstat(fd, &status) != 0) {
    error = errno_text("cannot examine " + path);
  } else if (static_cast<uint64_t>(status.st_size) < file_bytes(1)) {
    error = path + " is not a software GPU's device model: it has only " + std::to_string(status.st_size) +
            " bytes";
  } else if (base = mmap(nullptr, static_cast<size_t>(status.st_size), PROT_READ | PROT_WRITE, MAP_SHARED, fd,
                         0);
             base == MAP_FAILED) {
    error = errno_text("cannot map " + path);
  } else if (std::string problem = check(*static_cast<Header*>(base), static_cast<uint64_t>(status.st_size));
             !problem.empty()) {
    munmap(base, static_cast<size_t>(status.st_size));
    error = path + " " + problem;
  }
  if (!error.empty()) {
    close(fd);
    return std::unexpected(error);
  }
  return Shared(path, fd, static_cast<char*>(base));
}

Shared::Shared(Shared&& other) noexcept
    : path_(std::move(other.path_)),
      fd_(std::exchange(other.fd_, -1)),
      base_(std::exchange(other.base_, nullptr)) {}

Shared::~Shared() {
  if (base_ != nullptr) munmap(base_, header().file_bytes);
  if (fd_ >= 0) close(fd_);
}

void Shared::put(Word& word, uint64_t value) {
  UndoLog& undo = header().undo;
  const uint64_t n = undo.count.load(std::memory_order_relaxed);
  if (n >= kUndoRecords)
    abort();  // a transaction of this program is too long: a bug, never a state of the file
  undo.records[n].offset.store(static_cast<uint64_t>(reinterpret_cast<char*>(&word) - base_),
                               std::memory_order_relaxed);
  undo.records[n].old_value.store(word.load(std::memory_order_relaxed), std::memory_order_relaxed);
  undo.count.store(n + 1, std::memory_order_release);
  word.store(value, std::memory_order_release);
}

// Restoring twice gives the same, so being killed in here is harmless.
void Shared::roll_back() {
  UndoLog& undo = header().undo;
  for (uint64_t n = undo.count.load(std::memory_order_acquire); n > 0; --n) {
    const UndoRecord& record = undo.records[(n - 1) % kUndoRecords];
    const uint64_t offset = record.offset.load(std::memory_order_relaxed);
    if (offset % sizeof(Word) != 0 || offset + sizeof(Word) > header().file_bytes)
      continue;  // scribbled over
    reinterpret_cast<Word*>(base_ + offset)
        ->store(record.old_value.load(std::memory_order_relaxed), std::memory_order_release);
  }
  commit();
}

void Shared::lock() {
  const int error = pthread_mutex_lock(&header().lock);
  if (error == EOWNERDEAD) {
    roll_back();
    pthread_mutex_consistent(&header().lock);
  } else if (error != 0) {
    abort();  // only a scribbled-over mutex gets here
  }
}

void Shared::unlock() {
  const Word* wake = std::exchange(wake_, nullptr);
  pthread_mutex_unlock(&header().lock);
  if (wake != nullptr) futex_wake_all(*wake);
}

int Shared::take_mark(uint32_t slot) const {
  // Its own open file description: a lock of another one of this process must conflict too.
  const int fd = ::open(("/proc/self/fd/" + std::to_string(fd_)).c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) return -1;
  struct flock range = mark_range(slot);
  if (fcntl(fd, F_OFD_SETLK, &range) == 0) return fd;
  close(fd);
  return -1;
}

bool Shared::mark_is_held(uint32_t slot) const {
  struct flock range = mark_range(slot);
  return fcntl(fd_, F_OFD_GETLK, &range) != 0 || range.l_type != F_UNLCK;
}

}  // namespace tweendeck::softgpu

#include "serving/process/log_reader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "serving/shim/layout.h"

namespace tweendeck::serving {
namespace {

constexpr size_t kBlockBytes = 64 * 1024;

// The last `lines` lines of the first `size` bytes of fd; `lines` is reduced by what was found.
Result<std::string> last_lines(int fd, uint64_t size, size_t& lines) {
  std::string text;
  uint64_t start = size;
  while (start > 0 && lines > 0) {
    const size_t length = std::min<uint64_t>(kBlockBytes, start);
    std::string block(length, '\0');
    const ssize_t got = pread(fd, block.data(), length, static_cast<off_t>(start - length));
    if (got < 0) return fail(system_error(errno, "cannot read the log"));
    block.resize(static_cast<size_t>(got));
    start -= length;
    size_t at = block.size();
    while (at > 0) {
      // A line ends before the line feed that belongs to it, so the very last byte of the file does not
      // count.
      const bool last_byte = start + at == size;
      if (block[at - 1] == '\n' && !last_byte && --lines == 0) break;
      --at;
    }
    text.insert(0, block.substr(at));
  }
  if (lines > 0 && size > 0) --lines;
  return text;
}

uint64_t size_of(int fd) {
  struct stat info{};
  return fstat(fd, &info) == 0 ? static_cast<uint64_t>(info.st_size) : 0;
}

}  // namespace

LogReader::LogReader(std::string replica_dir) : dir_(std::move(replica_dir)) {}

LogReader::~LogReader() {
  if (fd_ >= 0) close(fd_);
}

LogReader::LogReader(LogReader&& other) noexcept
    : dir_(std::move(other.dir_)), fd_(std::exchange(other.fd_, -1)), offset_(other.offset_) {}

LogReader& LogReader::operator=(LogReader&& other) noexcept {
  std::swap(dir_, other.dir_);
  std::swap(fd_, other.fd_);
  std::swap(offset_, other.offset_);
  return *this;
}

Status LogReader::reopen() {
  if (fd_ >= 0) close(fd_);
  offset_ = 0;
  const std::string path = dir_ + "/" + shim::kLogFile;
  fd_ = open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (fd_ < 0 && errno != ENOENT) return fail(system_error(errno, "cannot open " + path));
  return {};
}

Result<std::string> LogReader::tail(size_t lines) {
  lines = std::min(lines, kMaxTailLines);
  if (auto opened = reopen(); !opened) return fail(opened.error());
  if (fd_ < 0) return std::string();
  offset_ = size_of(fd_);
  auto text = last_lines(fd_, offset_, lines);
  if (!text || lines == 0) return text;
  const int old = open((dir_ + "/" + shim::kOldLogFile).c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
  if (old < 0) return text;
  auto before = last_lines(old, size_of(old), lines);
  close(old);
  return before ? *before + *text : text;
}

Result<std::string> LogReader::next() {
  if (fd_ < 0) {
    if (auto opened = reopen(); !opened) return fail(opened.error());
    if (fd_ < 0) return std::string();
  }
  for (;;) {
    std::string text(kMaxChunkBytes, '\0');
    const ssize_t got = pread(fd_, text.data(), text.size(), static_cast<off_t>(offset_));
    if (got < 0) return fail(system_error(errno, "cannot read the log"));
    if (got > 0) {
      text.resize(static_cast<size_t>(got));
      offset_ += static_cast<uint64_t>(got);
      return text;
    }
    struct stat mine{};
    struct stat current{};
    const bool rotated = fstat(fd_, &mine) == 0 &&
                         stat((dir_ + "/" + shim::kLogFile).c_str(), &current) == 0 &&
                         mine.st_ino != current.st_ino;
    if (!rotated) return std::string();
    if (auto opened = reopen(); !opened) return fail(opened.error());
    if (fd_ < 0) return std::string();
  }
}

}  // namespace tweendeck::serving

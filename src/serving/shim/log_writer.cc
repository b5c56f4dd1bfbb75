#include "serving/shim/log_writer.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "serving/shim/layout.h"

namespace tweendeck::shim {

LogWriter::LogWriter(int dir_fd, uint64_t limit_bytes) : dir_fd_(dir_fd), limit_(limit_bytes) {
  open_file();
}

LogWriter::~LogWriter() {
  if (fd_ >= 0) close(fd_);
}

void LogWriter::open_file() {
  fd_ = openat(dir_fd_, kLogFile, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOFOLLOW, 0600);
  struct stat info{};
  size_ = fd_ >= 0 && fstat(fd_, &info) == 0 ? static_cast<uint64_t>(info.st_size) : 0;
}

void LogWriter::rotate() {
  if (fd_ >= 0) close(fd_);
  renameat(dir_fd_, kLogFile, dir_fd_, kOldLogFile);
  open_file();
}

void LogWriter::put(std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = fd_ < 0 ? -1 : ::write(fd_, text.data(), text.size());
    if (written < 0 && errno == EINTR && fd_ >= 0) continue;
    if (written <= 0) {
      dropped_ += text.size();
      dropped_total_ += text.size();
      return;
    }
    size_ += static_cast<uint64_t>(written);
    text.remove_prefix(static_cast<size_t>(written));
  }
}

void LogWriter::write(std::string_view text) {
  remember(text);
  if (fd_ < 0) open_file();
  if (size_ > 0 && size_ + text.size() > limit_) rotate();
  if (dropped_ > 0) {
    char line[96];
    const int length = std::snprintf(line, sizeof line, "\n[tweendeck] %llu bytes of log were dropped\n",
                                     static_cast<unsigned long long>(dropped_));
    const uint64_t before = dropped_;
    dropped_ = 0;
    put({line, static_cast<size_t>(length)});
    if (dropped_ > 0) {  // still no space: this line was not the engine's
      dropped_total_ -= dropped_;
      dropped_ = before;
    }
  }
  put(text);
}

void LogWriter::note(std::string_view line) {
  std::string text = "[tweendeck] ";
  text += line;
  text += '\n';
  if (size_ > 0 && size_ + text.size() > limit_) rotate();
  const uint64_t dropped = dropped_;
  const uint64_t total = dropped_total_;
  put(text);
  dropped_ = dropped;
  dropped_total_ = total;
}

void LogWriter::remember(std::string_view text) {
  while (!text.empty()) {
    const size_t end = text.find('\n');
    const std::string_view piece = text.substr(0, end);
    partial_.append(piece.substr(0, kTailLineBytes - std::min(partial_.size(), kTailLineBytes)));
    if (end == std::string_view::npos) return;
    lines_.push_back(std::move(partial_));
    partial_.clear();
    if (lines_.size() > kTailLines) lines_.pop_front();
    text.remove_prefix(end + 1);
  }
}

std::deque<std::string> LogWriter::tail() const {
  std::deque<std::string> result = lines_;
  if (!partial_.empty()) result.push_back(partial_);
  if (result.size() > kTailLines) result.pop_front();
  return result;
}

}  // namespace tweendeck::shim

// The engine's log, bounded: at `limit_bytes` the file becomes log.1 and a new one begins, so a replica keeps
// at most twice that. A full disk drops text and counts it; writing never waits for space. Keeps the last
// lines in memory for the exit record.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>

namespace tweendeck::shim {

class LogWriter {
 public:
  LogWriter(int dir_fd, uint64_t limit_bytes);
  ~LogWriter();
  LogWriter(const LogWriter&) = delete;
  LogWriter& operator=(const LogWriter&) = delete;

  void write(std::string_view text);
  void note(std::string_view line);  // a line of the shim itself; not part of tail()

  std::deque<std::string> tail() const;  // the last kTailLines lines, an unfinished one included
  uint64_t dropped_bytes() const { return dropped_total_; }

 private:
  void open_file();
  void rotate();
  void put(std::string_view text);
  void remember(std::string_view text);

  int dir_fd_;
  int fd_ = -1;
  uint64_t limit_;
  uint64_t size_ = 0;
  uint64_t dropped_ = 0;  // since the last text that could be written
  uint64_t dropped_total_ = 0;
  std::deque<std::string> lines_;
  std::string partial_;
};

}  // namespace tweendeck::shim

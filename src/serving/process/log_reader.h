// Reads a replica's log while it grows and rotates (log -> log.1 at its size limit).
//
// Not thread-safe; each reader has its own. Rotated-away text that a slow reader missed is skipped, never
// repeated.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"

namespace tweendeck::serving {

class LogReader {
 public:
  static constexpr size_t kMaxChunkBytes = 64 * 1024;
  static constexpr size_t kMaxTailLines = 100'000;

  explicit LogReader(std::string replica_dir);
  ~LogReader();
  LogReader(LogReader&& other) noexcept;
  LogReader& operator=(LogReader&& other) noexcept;

  // The last `lines` lines of what is there, over both files; the position is then the end.
  Result<std::string> tail(size_t lines);

  // What was appended since the last call, at most kMaxChunkBytes; "" when nothing is new.
  Result<std::string> next();

 private:
  Status reopen();

  std::string dir_;
  int fd_ = -1;
  uint64_t offset_ = 0;
};

}  // namespace tweendeck::serving

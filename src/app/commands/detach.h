// Starts the daemon in the background: the child tells over a pipe whether it came up, so the parent can say
// so.
#pragma once

#include <functional>
#include <string>

#include "base/result.h"

namespace tweendeck::commands {

// How the child reports: exactly once.
class ReadyPipe {
 public:
  explicit ReadyPipe(int fd) : fd_(fd) {}
  ReadyPipe(const ReadyPipe&) = delete;
  ReadyPipe& operator=(const ReadyPipe&) = delete;
  ~ReadyPipe();
  void ready(const std::string& summary);
  void failed(const Error& error);

 private:
  void send(char kind, const std::string& text);
  int fd_;
};

// Forks before any thread exists. The child leaves the terminal, writes its output to `log_path` and runs
// `body`, whose value is its exit code. A log that reaches kMaxDaemonLogBytes is kept as .1 and a new one is
// begun. The parent returns what the child reported. Errors: what the child failed with; Internal when it
// ended without a word.
inline constexpr uint64_t kMaxDaemonLogBytes = 8 << 20;
Result<std::string> run_detached(const std::string& log_path, const std::function<int(ReadyPipe&)>& body);

}  // namespace tweendeck::commands

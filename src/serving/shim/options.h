// The shim's command line. The engine's environment is the shim's own.
//
//   tweendeck-shim --dir DIR --launch N --parent PID --port N [--start N] [--uid N] [--cgroup-procs FILE]...
//                  [--mount ro|rw SOURCE TARGET]... [--stop-signal N] [--grace-ms N] [--log-bytes N] --
//                    PROGRAM ARG...
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace tweendeck::shim {

struct BindMount {
  bool read_only = true;
  std::string source;
  std::string target;  // below kSandboxRoot
};

struct Options {
  std::string dir;
  uint64_t launch = 0;
  uint64_t start = 1;   // how many times the replica was started by now, for its log
  uint64_t parent = 0;  // 0: whoever it is may die
  uint64_t port = 0;
  uint64_t uid = 0;  // 0: keep the user
  std::vector<std::string> cgroup_procs;
  std::vector<BindMount> mounts;  // none: no mount namespace
  uint64_t stop_signal = 15;
  uint64_t grace_ms = 10'000;
  uint64_t log_bytes = 8ull << 20;
  std::vector<std::string> command;
};

// "" or what is wrong.
std::string parse_options(int argc, char** argv, Options& out);

}  // namespace tweendeck::shim

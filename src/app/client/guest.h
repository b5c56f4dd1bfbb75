// A program run in the foreground inside a slice: it gets the slice's environment and cgroup, our terminal,
// and the signals that are sent to us. It dies with us (PR_SET_PDEATHSIG), so a killed client leaves no work
// behind. One guest per process: signals are process-wide.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/types.h"

namespace tweendeck::client {

struct Guest {
  std::vector<std::string> words;  // program (looked up in PATH) and arguments
  std::vector<EnvVar> env;  // LD_PRELOAD and LD_LIBRARY_PATH go before what is there, others replace it
  std::vector<std::string> cgroup_procs;  // files that its pid is written to before it runs
};

struct GuestEnd {
  int code =
      0;  // its exit code, 128 + N when signal N ended it, 127 when it is not found, 126 when it cannot be run
  std::optional<Error> not_started;  // why, for 126 and 127 that are not the program's own
};

// Runs it to its end. Errors: InvalidArgument (no program), IoError, PermissionDenied (cgroup).
Result<GuestEnd> run_guest(const Guest& guest);

// The environment of the guest: `ours` ("NAME=value") with the slice's variables in it.
std::vector<std::string> guest_environment(const std::vector<std::string>& ours,
                                           const std::vector<EnvVar>& slice);

}  // namespace tweendeck::client

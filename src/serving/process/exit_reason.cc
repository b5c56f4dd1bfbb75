#include "serving/process/exit_reason.h"

#include <fmt/format.h>

#include <cstring>

#include "base/units.h"

namespace tweendeck::serving {
namespace {

std::string signal_name(int number) {
  const char* name = sigabbrev_np(number);
  return name == nullptr ? fmt::format("signal {}", number) : fmt::format("SIG{}", name);
}

void explain_oom(const ExitFacts& facts, ExitRecord& out) {
  out.reason = Reason::OutOfMemory;
  out.message = fmt::format("passed its slice's memory limit of {} and was stopped by it",
                            format_bytes(facts.memory_bytes));
  // Half as much again, in whole 64 MiB: a first guess that is rarely too small twice.
  const uint64_t more = (facts.memory_bytes * 3 / 2 + 64 * kMiB - 1) / (64 * kMiB) * 64;
  out.hint = fmt::format("give it more memory, for example --memory {}Mi", more);
}

// What the shim says when the engine's program never ran.
void explain_start_error(const std::string& error, ExitRecord& out) {
  if (error.starts_with("slice:")) {
    out.reason = Reason::CgroupUnavailable;
  } else if (error.starts_with("sandbox:") || error.starts_with("user:") ||
             error.starts_with("working directory")) {
    out.reason = Reason::SandboxUnavailable;
  } else {
    out.reason = Reason::EngineNotInstalled;
  }
  out.message = "could not be started: " + error;
  out.hint = "see `tweendeck doctor`";
}

}  // namespace

ExitRecord explain_exit(const ExitFacts& facts) {
  ExitRecord out;
  out.valid = true;
  out.wall_ns = facts.shim ? facts.shim->wall_ns : facts.wall_now;
  if (facts.shim) {
    out.exit_code = facts.shim->code;
    out.signal = facts.shim->signal;
  } else {
    out.signal = 9;
  }
  const std::string logs = fmt::format("tweendeck logs {}", facts.replica_id);
  if (facts.oom_kills > 0) {
    explain_oom(facts, out);
  } else if (facts.shim && !facts.shim->error.empty()) {
    explain_start_error(facts.shim->error, out);
  } else if (facts.status && facts.status->reason != Reason::None) {
    out.reason = facts.status->reason;
    out.message = facts.status->message;
    out.hint = facts.status->hint;
  } else if (!facts.shim) {
    out.reason = Reason::ReplicaKilled;
    out.message = "its process and the process that watched it were killed";
    out.hint = logs;
  } else if (out.signal != 0) {
    out.reason = Reason::ReplicaKilled;
    out.message = fmt::format("was killed by {}", signal_name(out.signal));
    out.hint = logs;
  } else {
    out.reason = Reason::ReplicaExited;
    out.message = fmt::format("ended by itself with exit status {}", out.exit_code);
    out.hint = logs;
  }
  return out;
}

}  // namespace tweendeck::serving

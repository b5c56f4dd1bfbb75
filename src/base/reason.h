// Reason codes: the machine-readable answer to "why not?".
//
// The list is reason.def. A Reason appears unchanged in errors, events, metric labels, JSON and `why`,
// so that a user can search one word everywhere. Pure data; safe from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string_view>

namespace tweendeck {

enum class Reason : uint16_t {
#define TW_REASON(name, exit_class, http, text) name,
#include "base/reason.def"
#undef TW_REASON
};
inline constexpr size_t kReasonCount = 0
#define TW_REASON(name, exit_class, http, text) +1
#include "base/reason.def"
#undef TW_REASON
    ;

// Exit codes of every command, documented in docs/reference/exit-codes.md.
enum class ExitCode : int {
  Ok = 0,
  General = 1,
  Usage = 2,
  Unreachable = 3,
  NotFound = 4,
  Refused = 5,
  Conflict = 6,
  Timeout = 124,
};

std::string_view to_string(Reason reason);  // "InsufficientMemory"
std::string_view describe(Reason reason);   // one sentence for a person
int http_status(Reason reason);             // the status an HTTP answer for it carries
ExitCode exit_code(Reason reason);          // what a command that failed for it returns
std::optional<Reason> parse_reason(std::string_view name);

}  // namespace tweendeck

// Errors are values: Result<T> holds a T or an Error that a user can act on.
//
//   Result<uint64_t> size = parse_bytes("1Gi");
//   if (!size) return fail(size.error());
//   return fail(Reason::InvalidArgument, "--memory is 0", "give at least 64Mi");
//
// Exceptions of libraries are caught where the library is called and turned into an Error there.
#pragma once

#include <expected>
#include <string>
#include <utility>

#include "base/reason.h"

namespace tweendeck {

struct Error {
  Reason reason = Reason::Internal;
  std::string message;  // what failed, with the names and numbers of this case; no trailing full stop
  std::string hint;     // the way out: what the user can do next; may be empty

  bool operator==(const Error&) const = default;
};

template <class T>
using Result = std::expected<T, Error>;
using Status = Result<void>;

inline std::unexpected<Error> fail(Reason reason, std::string message, std::string hint = {}) {
  return std::unexpected(Error{reason, std::move(message), std::move(hint)});
}
inline std::unexpected<Error> fail(Error error) {
  return std::unexpected(std::move(error));
}

// An Error for a failed system call: picks the Reason from errno_value (ENOSPC -> DiskFull, EACCES ->
// PermissionDenied, ENOENT -> NotFound, else IoError) and appends strerror's text to `what`.
Error system_error(int errno_value, std::string what);

// "message (hint) [Reason]": one line for logs and stderr.
std::string to_string(const Error& error);

}  // namespace tweendeck

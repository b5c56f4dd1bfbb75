#include "base/result.h"

#include <cerrno>
#include <cstring>

namespace tweendeck {
namespace {

Reason reason_of(int errno_value) {
  switch (errno_value) {
    case ENOSPC:
    case EDQUOT:
      return Reason::DiskFull;
    case EACCES:
    case EPERM:
    case EROFS:
      return Reason::PermissionDenied;
    case ENOENT:
      return Reason::NotFound;
    case EEXIST:
      return Reason::AlreadyExists;
    case ETIMEDOUT:
      return Reason::Timeout;
    default:
      return Reason::IoError;
  }
}

}  // namespace

Error system_error(int errno_value, std::string what) {
  what += ": ";
  what += std::strerror(errno_value);
  std::string hint = reason_of(errno_value) == Reason::DiskFull ? "free some space and try again" : "";
  return Error{reason_of(errno_value), std::move(what), std::move(hint)};
}

std::string to_string(const Error& error) {
  std::string line = error.message;
  if (!error.hint.empty()) line += " (" + error.hint + ")";
  line += " [";
  line += to_string(error.reason);
  line += "]";
  return line;
}

}  // namespace tweendeck

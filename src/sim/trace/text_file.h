// A whole text file in memory, gunzipped when it is gzip. Blocking; for traces, not for untrusted sizes.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace tweendeck::sim {

inline constexpr size_t kMaxTextBytes = 1u << 30;  // after gunzip

// Errors: NotFound, PermissionDenied, IoError, LimitExceeded, InvalidArgument (broken gzip), naming the file.
Result<std::string> read_text_file(const std::string& path);

// `bytes` as they are, or gunzipped when they start like gzip. Pure. Errors: InvalidArgument, LimitExceeded.
Result<std::string> gunzip(std::string_view bytes, const std::string& source);

}  // namespace tweendeck::sim

// Request traces in the Mooncake format: one JSON object per line, sorted by arrival.
//
//   {"timestamp": 27482, "input_length": 6955, "output_length": 52, "hash_ids": [46, 47, 2353]}
//
// `timestamp` is in milliseconds from the start; `hash_ids` name the prompt's blocks of kTraceBlockTokens
// tokens, and an equal id means the same block after the same prefix. Pure except load_trace.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace tweendeck::bench {

inline constexpr uint32_t kTraceBlockTokens = 512;
inline constexpr uint32_t kMaxTraceTokens = 4u << 20;  // of one prompt or answer
inline constexpr size_t kMaxTraceLineBytes = 1 << 20;

struct TraceRequest {
  Nanos at = 0;
  uint32_t input_tokens = 0;
  uint32_t output_tokens = 0;
  std::vector<uint64_t> hash_ids;
  bool operator==(const TraceRequest&) const = default;
};

// Errors: InvalidArgument with the field that is wrong.
Result<TraceRequest> parse_trace_line(std::string_view line);

// At most `limit` requests (0 = all). Errors: NotFound, IoError, InvalidArgument with file and line.
Result<std::vector<TraceRequest>> load_trace(const std::string& path, size_t limit);

}  // namespace tweendeck::bench

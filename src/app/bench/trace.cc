#include "app/bench/trace.h"

#include <fmt/format.h>

#include <cerrno>
#include <fstream>

#include "base/text.h"
#include "net/json.h"

namespace tweendeck::bench {
namespace {

constexpr int64_t kMaxTraceMilliseconds = 365ll * 24 * 3600 * 1000;

Result<int64_t> whole_number(const net::JsonValue& line, std::string_view field, int64_t min, int64_t max) {
  const net::JsonValue& value = line[field];
  if (!value.is_integer() || value.integer_or(0) < min || value.integer_or(0) > max) {
    return fail(Reason::InvalidArgument,
                fmt::format("`{}` is not a whole number from {} to {}", field, min, max),
                "each line needs timestamp, input_length, output_length and hash_ids");
  }
  return value.integer_or(0);
}

}  // namespace

Result<TraceRequest> parse_trace_line(std::string_view line) {
  Result<net::JsonValue> parsed = net::parse_json(line);
  if (!parsed)
    return fail(Reason::InvalidArgument, parsed.error().message,
                "the file must hold one JSON object per line");
  Result<int64_t> at = whole_number(*parsed, "timestamp", 0, kMaxTraceMilliseconds);
  Result<int64_t> input = whole_number(*parsed, "input_length", 1, kMaxTraceTokens);
  Result<int64_t> output = whole_number(*parsed, "output_length", 0, kMaxTraceTokens);
  for (const auto* value : {&at, &input, &output}) {
    if (!*value) return fail(value->error());
  }
  TraceRequest request{.at = *at * kMillisecond,
                       .input_tokens = static_cast<uint32_t>(*input),
                       .output_tokens = static_cast<uint32_t>(*output),
                       .hash_ids = {}};
  const net::JsonValue& ids = (*parsed)["hash_ids"];
  size_t blocks = (request.input_tokens + kTraceBlockTokens - 1) / kTraceBlockTokens;
  if (!ids.is_array() || ids.items().size() != blocks) {
    return fail(Reason::InvalidArgument,
                fmt::format("`hash_ids` holds {} ids, an input_length of {} needs {}", ids.items().size(),
                            request.input_tokens, blocks));
  }
  for (const net::JsonValue& id : ids.items()) {
    if (!id.is_integer() || id.integer_or(-1) < 0) {
      return fail(Reason::InvalidArgument,
                  "`hash_ids` holds something that is not a whole number of at least 0");
    }
    request.hash_ids.push_back(static_cast<uint64_t>(id.integer_or(0)));
  }
  return request;
}

Result<std::vector<TraceRequest>> load_trace(const std::string& path, size_t limit) {
  errno = 0;
  std::ifstream file(path, std::ios::binary);
  if (!file) return fail(system_error(errno, fmt::format("cannot read the trace {}", path)));
  std::vector<TraceRequest> requests;
  std::string line;
  for (size_t number = 1; (limit == 0 || requests.size() < limit) && std::getline(file, line); ++number) {
    if (trim(line).empty()) continue;
    Result<TraceRequest> request = line.size() > kMaxTraceLineBytes
                                       ? fail(Reason::LimitExceeded, "the line is too long")
                                       : parse_trace_line(line);
    if (!request) {
      Error error = request.error();
      error.message = fmt::format("{}:{}: {}", path, number, error.message);
      return fail(std::move(error));
    }
    if (!requests.empty() && request->at < requests.back().at) {
      return fail(Reason::InvalidArgument, fmt::format("{}:{}: arrives before the line above", path, number),
                  "sort the trace by timestamp");
    }
    requests.push_back(std::move(*request));
  }
  if (requests.empty()) {
    return fail(Reason::InvalidArgument, fmt::format("the trace {} holds no request", path));
  }
  return requests;
}

}  // namespace tweendeck::bench

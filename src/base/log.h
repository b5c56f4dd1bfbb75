// Structured log: one line per record on stderr, as `key=value` text or as JSON.
//
//   log::info("Started replica", {{"replica", id}, {"port", port}});
//
// Messages start with a capital, are in the past tense and have no full stop; keys are lowerCamelCase.
// Never log prompts, completions, keys or environment values. An error that is returned is not logged too.
// Safe from any thread. A line is cut at kMaxLineBytes.
#pragma once

#include <fmt/core.h>

#include <initializer_list>
#include <string>
#include <string_view>
#include <type_traits>

#include "base/result.h"

namespace tweendeck::log {

enum class Level { Debug, Info, Warning, Error };
enum class Format { Text, Json };

inline constexpr size_t kMaxLineBytes = 8192;

struct Field {
  std::string_view key;
  std::string value;

  template <class T>
  Field(std::string_view k, const T& v) : key(k), value(fmt::format("{}", v)) {}
  Field(std::string_view k, Reason v) : key(k), value(to_string(v)) {}
};
using Fields = std::initializer_list<Field>;

void configure(Level level, Format format);
Result<Level> parse_level(std::string_view name);  // debug, info, warning, error
// Makes `path` stdout and stderr of this process, and keeps it bounded: a record that finds `max_bytes` or
// more in it first moves it to `path`.1 (replacing that) and starts a new one; where that is impossible the
// file is emptied instead. So the two never hold more than twice the limit, one record, and what others write
// to stderr between two records. Once per process. Errors: of opening the file.
Status to_file(const std::string& path, uint64_t max_bytes);

void write(Level level, std::string_view message, Fields fields);

inline void debug(std::string_view message, Fields fields = {}) {
  write(Level::Debug, message, fields);
}
inline void info(std::string_view message, Fields fields = {}) {
  write(Level::Info, message, fields);
}
inline void warning(std::string_view message, Fields fields = {}) {
  write(Level::Warning, message, fields);
}
inline void error(std::string_view message, Fields fields = {}) {
  write(Level::Error, message, fields);
}

// One record as it would be written, without the line feed; exposed so that tests need no stderr.
std::string render(Level level, std::string_view message, Fields fields, int64_t wall_ns, Format format);

}  // namespace tweendeck::log

#include "base/log.h"

#include <time.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cctype>

#include "base/clock.h"
#include "base/text.h"

namespace tweendeck::log {
namespace {

std::atomic<Level> g_level{Level::Info};
std::atomic<Format> g_format{Format::Text};

constexpr std::array<std::string_view, 4> kLevelNames = {"debug", "info", "warning", "error"};

bool plain(std::string_view value) {
  if (value.empty()) return false;
  for (char c : value) {
    if (std::isgraph(static_cast<unsigned char>(c)) == 0 || c == '"' || c == '=' || c == '\\') return false;
  }
  return true;
}

}  // namespace

void configure(Level level, Format format) {
  g_level = level;
  g_format = format;
}

Result<Level> parse_level(std::string_view name) {
  for (size_t i = 0; i < kLevelNames.size(); ++i) {
    if (kLevelNames[i] == name) return static_cast<Level>(i);
  }
  return fail(Reason::InvalidArgument, fmt::format("'{}' is not a log level", name),
              "use debug, info, warning or error");
}

std::string render(Level level, std::string_view message, Fields fields, int64_t wall_ns, Format format) {
  std::string_view level_name = kLevelNames[static_cast<size_t>(level)];
  std::string time = format_time(wall_ns);
  std::string line;
  if (format == Format::Json) {
    line = fmt::format(R"({{"time":"{}","level":"{}","message":{})", time, level_name, json_quote(message));
    for (const Field& field : fields) {
      line += fmt::format(",{}:{}", json_quote(field.key), json_quote(field.value));
    }
    line += '}';
  } else {
    line = fmt::format("{} {:7} {}", time, level_name, message);
    for (const Field& field : fields) {
      line += fmt::format(" {}={}", field.key, plain(field.value) ? field.value : json_quote(field.value));
    }
  }
  if (line.size() > kMaxLineBytes) line.resize(kMaxLineBytes);
  return line;
}

void write(Level level, std::string_view message, Fields fields) {
  if (level < g_level.load(std::memory_order_relaxed)) return;
  std::string line = render(level, message, fields, SystemClock().wall_now(), g_format.load());
  line += '\n';
  // One write per record keeps lines whole between threads; a full or closed stderr must not stop the daemon.
  [[maybe_unused]] ssize_t written = ::write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace tweendeck::log

#include "base/log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cctype>
#include <cerrno>
#include <mutex>

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

struct File {
  std::mutex mutex;
  std::string path;
  uint64_t max_bytes = 0;
};
std::atomic<File*> g_file{nullptr};  // never freed: threads may log until the process ends

Status take_over_output(const std::string& path) {
  int fd = ::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
  if (fd < 0) return fail(system_error(errno, "cannot open the log " + path));
  dup2(fd, STDOUT_FILENO);
  dup2(fd, STDERR_FILENO);
  ::close(fd);
  return {};
}

void keep_bounded(File& file) {
  std::lock_guard lock(file.mutex);
  struct stat info{};
  if (fstat(STDERR_FILENO, &info) != 0 || static_cast<uint64_t>(info.st_size) < file.max_bytes) return;
  std::string older = file.path + ".1";
  bool moved = ::rename(file.path.c_str(), older.c_str()) == 0;
  if (moved && take_over_output(file.path)) return;
  // Where no second file can be had, the end of the log is worth more than the machine's disk.
  [[maybe_unused]] int emptied = ftruncate(STDERR_FILENO, 0);
}

}  // namespace

Status to_file(const std::string& path, uint64_t max_bytes) {
  if (Status opened = take_over_output(path); !opened) return opened;
  auto* file = new File;
  file->path = path;
  file->max_bytes = max_bytes;
  g_file = file;
  return {};
}

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
  if (File* file = g_file.load(std::memory_order_acquire); file != nullptr) keep_bounded(*file);
  // One write per record keeps lines whole between threads; a full or closed stderr must not stop the daemon.
  [[maybe_unused]] ssize_t written = ::write(STDERR_FILENO, line.data(), line.size());
}

}  // namespace tweendeck::log

#include "serving/shim/records.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "serving/shim/layout.h"

namespace tweendeck::shim {
namespace {

void quote(std::string_view text, std::string& out) {
  out += '"';
  for (const char c : text) {
    const auto byte = static_cast<unsigned char>(c);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += c;
    } else if (byte < 0x20 || byte >= 0x7f) {
      // Bytes are kept one by one (as U+0000..U+00FF), so any engine output gives valid JSON; readers undo
      // it.
      char escape[8];
      std::snprintf(escape, sizeof escape, "\\u%04x", byte);
      out += escape;
    } else {
      out += c;
    }
  }
  out += '"';
}

void field(std::string& out, const char* name, long long value) {
  out += out.size() > 1 ? "," : "";
  out += '"';
  out += name;
  out += "\":";
  out += std::to_string(value);
}

bool write_all(int fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t written = write(fd, text.data(), text.size());
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) return false;
    text.remove_prefix(static_cast<size_t>(written));
  }
  return true;
}

bool write_file(int dir_fd, const char* temp, const char* name, std::string_view text, int flags) {
  const int fd = openat(dir_fd, temp, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW | flags, 0600);
  if (fd < 0) return false;
  bool ok = write_all(fd, text) && ftruncate(fd, static_cast<off_t>(text.size())) == 0 && fsync(fd) == 0;
  ok &= close(fd) == 0;
  return ok && renameat(dir_fd, temp, dir_fd, name) == 0 && fsync(dir_fd) == 0;
}

}  // namespace

std::string to_json(const LaunchRecord& record) {
  std::string out = "{";
  field(out, "launch", static_cast<long long>(record.launch));
  field(out, "pid", record.pid);
  field(out, "start_ticks", static_cast<long long>(record.start_ticks));
  field(out, "engine_pid", record.engine_pid);
  field(out, "engine_start_ticks", static_cast<long long>(record.engine_start_ticks));
  field(out, "port", static_cast<long long>(record.port));
  return out + "}\n";
}

std::string to_json(const ExitRecord& record) {
  std::string out = "{";
  field(out, "launch", static_cast<long long>(record.launch));
  field(out, "code", record.code);
  field(out, "signal", record.signal);
  field(out, "wall_ns", record.wall_ns);
  field(out, "dropped_log_bytes", static_cast<long long>(record.dropped_log_bytes));
  out += record.stopped ? ",\"stopped\":true" : ",\"stopped\":false";
  out += ",\"error\":";
  quote(record.error, out);
  out += ",\"tail\":[";
  bool first = true;
  for (const std::string& line : record.tail) {
    if (!first) out += ',';
    first = false;
    quote(line, out);
  }
  return out + "]}\n";
}

// 20 lines of 500 bytes, each byte at most 6 characters long, pass kMaxExitBytes only with the error text.
static_assert(kTailLines * (kTailLineBytes * 6 + 3) + 1024 < kMaxExitBytes);

bool reserve_exit_record(int dir_fd) {
  const int fd = openat(dir_fd, kExitTemp, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return false;
  const bool ok = posix_fallocate(fd, 0, kMaxExitBytes) == 0;
  close(fd);
  return ok;
}

// Without O_TRUNC: the reserved blocks are written over.
bool write_exit_record(int dir_fd, const ExitRecord& record) {
  return write_file(dir_fd, kExitTemp, kExitFile, to_json(record), 0);
}

bool write_launch_record(int dir_fd, const LaunchRecord& record) {
  return write_file(dir_fd, kLaunchTemp, kLaunchFile, to_json(record), O_TRUNC);
}

uint64_t start_ticks(int64_t pid) {
  char path[40];
  std::snprintf(path, sizeof path, "/proc/%lld/stat", static_cast<long long>(pid));
  const int fd = open(path, O_RDONLY | O_CLOEXEC);
  if (fd < 0) return 0;
  char text[1024];
  const ssize_t length = read(fd, text, sizeof text - 1);
  close(fd);
  if (length <= 0) return 0;
  text[length] = '\0';
  // The second field is the program's name in parentheses and may hold anything; count from its end.
  const char* at = std::strrchr(text, ')');
  if (at == nullptr || at[1] == '\0' || at[2] == 'Z' || at[2] == 'X') return 0;
  for (int field_number = 2; at != nullptr && field_number < 22; ++field_number) {
    at = std::strchr(at + 1, ' ');
  }
  return at == nullptr ? 0 : std::strtoull(at + 1, nullptr, 10);
}

}  // namespace tweendeck::shim

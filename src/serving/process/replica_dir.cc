#include "serving/process/replica_dir.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <filesystem>
#include <fstream>

#include "base/units.h"
#include "net/json.h"
#include "serving/shim/layout.h"
#include "serving/shim/records.h"

namespace tweendeck::serving {
namespace {

namespace fs = std::filesystem;

std::optional<net::JsonValue> read_json(const std::string& path, size_t limit) {
  std::ifstream in(path, std::ios::binary);
  if (!in) return std::nullopt;
  std::string text(limit + 1, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(in.gcount()));
  if (text.size() > limit) return std::nullopt;
  auto value = net::parse_json(text);
  if (!value || !value->is_object()) return std::nullopt;
  return std::move(*value);
}

template <class T>
T number(const net::JsonValue& object, std::string_view key) {
  return static_cast<T>(object[key].integer_or(0));
}

bool byte_is_locked(const std::string& path, int64_t byte) {
  const int fd = ::open(path.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW);
  if (fd < 0) return false;
  struct flock probe{};
  probe.l_type = F_WRLCK;
  probe.l_whence = SEEK_SET;
  probe.l_start = byte;
  probe.l_len = 1;
  const bool locked = fcntl(fd, F_OFD_GETLK, &probe) == 0 && probe.l_type != F_UNLCK;
  ::close(fd);
  return locked;
}

// The shim writes each byte of the log's tail as U+0000..U+00FF; this makes the bytes again.
std::string bytes_of(std::string_view text) {
  std::string out;
  for (size_t i = 0; i < text.size(); ++i) {
    const auto byte = static_cast<unsigned char>(text[i]);
    if ((byte & 0xfe) == 0xc2 && i + 1 < text.size()) {
      out += static_cast<char>((byte & 0x03) << 6 | (static_cast<unsigned char>(text[++i]) & 0x3f));
    } else {
      out += text[i];
    }
  }
  return out;
}

bool has_open(const fs::path& fd_dir, const struct stat& wanted) {
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(fd_dir, error)) {
    struct stat info{};
    if (stat(entry.path().c_str(), &info) == 0 && info.st_ino == wanted.st_ino &&
        info.st_dev == wanted.st_dev) {
      return true;
    }
  }
  return false;
}

Status make_dir(const std::string& path, mode_t mode) {
  if (mkdir(path.c_str(), mode) == 0 || errno == EEXIST) return {};
  return fail(system_error(errno, "cannot create " + path));
}

Status reserve(const std::string& path, size_t bytes) {
  const int fd = open(path.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
  if (fd < 0) return fail(system_error(errno, "cannot create " + path));
  const int error = posix_fallocate(fd, 0, static_cast<off_t>(bytes));
  close(fd);
  if (error != 0)
    return fail(system_error(error, fmt::format("cannot reserve {} for {}", format_bytes(bytes), path)));
  return {};
}

}  // namespace

ReplicaDir::ReplicaDir(const std::string& state_dir, const std::string& replica_id)
    : path_(state_dir + "/replicas/" + replica_id) {}

Status ReplicaDir::prepare(uint32_t uid) const {
  for (const std::string& dir : {fs::path(path_).parent_path().string(), path_, file(shim::kWorkDir)}) {
    if (auto made = make_dir(dir, 0700); !made) return made;
  }
  // The engine may have put anything there, links included: never follow one as root.
  std::error_code error;
  fs::remove_all(file(shim::kStatusFile), error);
  if (uid != 0 && lchown(file(shim::kWorkDir).c_str(), uid, uid) != 0) {
    return fail(system_error(errno, fmt::format("cannot give {} to user {}", file(shim::kWorkDir), uid)));
  }
  if (auto kept = reserve(file(shim::kExitTemp), shim::kMaxExitBytes); !kept) return kept;
  return reserve(file(shim::kLaunchTemp), shim::kMaxLaunchBytes);
}

Status ReplicaDir::remove() const {
  std::error_code error;
  fs::remove_all(path_, error);
  if (error) return fail(system_error(error.value(), "cannot remove " + path_));
  return {};
}

bool ReplicaDir::shim_lives() const {
  return byte_is_locked(file(shim::kLockFile), shim::kShimLockByte);
}
bool ReplicaDir::engine_lives() const {
  return byte_is_locked(file(shim::kLockFile), shim::kEngineLockByte);
}

std::optional<LaunchRecord> ReplicaDir::launch() const {
  const auto json = read_json(file(shim::kLaunchFile), shim::kMaxExitBytes);
  if (!json) return std::nullopt;
  LaunchRecord record;
  record.launch = number<uint64_t>(*json, "launch");
  record.pid = number<int32_t>(*json, "pid");
  record.start_ticks = number<uint64_t>(*json, "start_ticks");
  record.engine_pid = number<int32_t>(*json, "engine_pid");
  record.engine_start_ticks = number<uint64_t>(*json, "engine_start_ticks");
  record.port = number<uint16_t>(*json, "port");
  return record;
}

std::optional<ShimExit> ReplicaDir::exit() const {
  const auto json = read_json(file(shim::kExitFile), shim::kMaxExitBytes);
  if (!json) return std::nullopt;
  ShimExit record;
  record.launch = number<uint64_t>(*json, "launch");
  record.code = number<int>(*json, "code");
  record.signal = number<int>(*json, "signal");
  record.wall_ns = number<Nanos>(*json, "wall_ns");
  record.stopped = (*json)["stopped"].bool_or(false);
  record.error = bytes_of((*json)["error"].text_or(""));
  record.dropped_log_bytes = number<uint64_t>(*json, "dropped_log_bytes");
  for (const net::JsonValue& line : (*json)["tail"].items())
    record.tail.push_back(bytes_of(line.text_or("")));
  return record;
}

std::optional<EngineStatus> ReplicaDir::status() const {
  // Written by an unprivileged process: a link or a device there is not followed.
  const std::string path = file(shim::kStatusFile);
  struct stat info{};
  if (lstat(path.c_str(), &info) != 0 || !S_ISREG(info.st_mode)) return std::nullopt;
  const auto json = read_json(path, kMaxStatusBytes);
  if (!json) return std::nullopt;
  constexpr int64_t kMaxCount = 1 << 30;
  EngineStatus status;
  status.max_in_flight =
      static_cast<uint32_t>(std::clamp<int64_t>((*json)["max_in_flight"].integer_or(0), 0, kMaxCount));
  status.context_tokens =
      static_cast<uint32_t>(std::clamp<int64_t>((*json)["context_tokens"].integer_or(0), 0, kMaxCount));
  status.reason = parse_reason((*json)["reason"].text_or("")).value_or(Reason::None);
  status.message = (*json)["message"].text_or("");
  status.hint = (*json)["hint"].text_or("");
  return status;
}

std::vector<int32_t> ReplicaDir::holders() const {
  std::vector<int32_t> pids;
  struct stat lock{};
  if (stat(file(shim::kLockFile).c_str(), &lock) != 0) return pids;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator("/proc", error)) {
    const std::string name = entry.path().filename();
    int32_t pid = 0;
    const auto [end, failed] = std::from_chars(name.data(), name.data() + name.size(), pid);
    if (failed != std::errc() || end != name.data() + name.size() || pid == getpid()) continue;
    if (has_open(entry.path() / "fd", lock)) pids.push_back(pid);
  }
  return pids;
}

bool is_process(int32_t pid, uint64_t ticks) {
  return pid > 0 && ticks != 0 && shim::start_ticks(pid) == ticks;
}

Nanos process_age(uint64_t ticks) {
  timespec up{};
  clock_gettime(CLOCK_BOOTTIME, &up);  // the time line of start ticks
  const Nanos now = static_cast<Nanos>(up.tv_sec) * kSecond + up.tv_nsec;
  const Nanos tick = kSecond / sysconf(_SC_CLK_TCK);
  return std::max<Nanos>(now - static_cast<Nanos>(ticks) * tick, 0);
}

std::vector<std::string> replica_dirs(const std::string& state_dir) {
  std::vector<std::string> ids;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(state_dir + "/replicas", error)) {
    ids.push_back(entry.path().filename());
  }
  return ids;
}

size_t living_replicas(const std::string& state_dir) {
  size_t count = 0;
  for (const std::string& id : replica_dirs(state_dir))
    count += ReplicaDir(state_dir, id).anything_lives() ? 1 : 0;
  return count;
}

}  // namespace tweendeck::serving

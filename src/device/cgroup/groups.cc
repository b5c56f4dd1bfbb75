#include "device/cgroup/groups.h"

#include <fmt/format.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <set>

#include "base/text.h"
#include "base/units.h"

namespace tweendeck::device {
namespace {

// v1 shows "no limit" as the largest page count in bytes, which depends on the page size.
constexpr uint64_t kLargestV1Limit = 1ull << 62;
constexpr std::string_view kNeverKill = "-1000";
constexpr pid_t kInit = 1;

}  // namespace

Status Groups::make(const std::string& path) {
  int error = kernel_.make_folder(path);
  if (error == 0 || error == EEXIST) return {};
  return fail(system_error(error, "making cgroup " + path));
}

Status Groups::set(const std::string& path, std::string_view text, std::string_view expected) {
  if (expected.empty()) expected = text;
  if (int error = kernel_.write(path, text); error != 0) {
    return fail(Reason::CgroupLimitNotApplied,
                fmt::format("writing '{}' to {}: {}", text, path, std::strerror(error)),
                "check that no group around the daemon has a lower limit");
  }
  std::string actual = text_of(path);
  if (actual == expected) return {};
  return fail(Reason::CgroupLimitNotApplied,
              fmt::format("{} reads '{}' after '{}' was written", path, actual, text));
}

std::string Groups::text_of(const std::string& path) const {
  std::string text;
  if (kernel_.read(path, text) != 0) return "";
  return std::string(trim(text));
}

bool Groups::exists(const std::string& path) const {
  std::string text;
  return kernel_.read(path, text) == 0;
}

uint64_t Groups::number_in(const std::string& path) const {
  std::string text = text_of(path);
  if (text == "max" || text == "-1") return kUnlimited;
  uint64_t value = 0;
  std::from_chars(text.data(), text.data() + text.size(), value);
  return value >= kLargestV1Limit ? kUnlimited : value;
}

uint64_t Groups::field_in(const std::string& path, std::string_view key) const {
  std::string text = text_of(path);
  for (std::string_view line : split(text, '\n')) {
    if (!line.starts_with(key) || line.size() <= key.size() || line[key.size()] != ' ') continue;
    std::string_view digits = trim(line.substr(key.size()));
    uint64_t value = 0;
    std::from_chars(digits.data(), digits.data() + digits.size(), value);
    return value;
  }
  return 0;
}

Result<std::vector<std::string>> Groups::create(std::string_view id, const GroupLimits& limits) {
  std::vector<std::string> ids = list();
  bool existed = std::ranges::binary_search(ids, id);
  Status applied = ensure_bases();
  if (applied) applied = apply(id, limits);
  if (!applied) {
    // What existed may hold a running replica; that is the caller's to remove.
    if (!existed) {
      if (Status gone = remove(id); !gone) applied.error().message += "; " + gone.error().message;
    }
    return fail(applied.error());
  }
  std::vector<std::string> procs;
  for (const std::string& base : bases()) procs.push_back(fmt::format("{}/{}/cgroup.procs", base, id));
  return procs;
}

std::vector<pid_t> Groups::processes_below(const std::string& folder) const {
  std::vector<pid_t> pids;
  std::string text = text_of(folder + "/cgroup.procs");
  for (std::string_view line : split(text, '\n')) {
    pid_t pid = 0;
    std::from_chars(line.data(), line.data() + line.size(), pid);
    // A process outside our pid namespace reads as 0, and kill(0) would hit our own process group.
    if (pid > kInit && pid != ::getpid()) pids.push_back(pid);
  }
  for (const std::string& name : kernel_.folders(folder)) {
    std::vector<pid_t> inner = processes_below(folder + "/" + name);
    pids.insert(pids.end(), inner.begin(), inner.end());
  }
  return pids;
}

std::vector<pid_t> Groups::processes(std::string_view id) const {
  std::set<pid_t> pids;
  for (const std::string& base : bases()) {
    for (pid_t pid : processes_below(fmt::format("{}/{}", base, id))) pids.insert(pid);
  }
  return {pids.begin(), pids.end()};
}

bool Groups::remove_once(const std::string& folder) {
  for (const std::string& name : kernel_.folders(folder)) {
    if (!remove_once(folder + "/" + name)) return false;
  }
  int error = kernel_.remove_folder(folder);
  return error == 0 || error == ENOENT;
}

Status Groups::remove(std::string_view id) {
  std::vector<std::string> ids = list();
  if (!std::ranges::binary_search(ids, id)) return {};
  for (int attempt = 0; attempt < kRemoveAttempts; ++attempt) {
    if (attempt > 0) kernel_.pause(kRemovePause);
    if (!kill_whole(id)) {
      for (pid_t pid : processes(id)) kernel_.kill(pid);
    }
    bool gone = true;
    for (const std::string& base : bases()) gone &= remove_once(fmt::format("{}/{}", base, id));
    if (gone) return {};
  }
  return fail(Reason::Timeout,
              fmt::format("cgroup {} still has {} processes {} after they were killed", id,
                          processes(id).size(), format_duration(kRemoveAttempts * kRemovePause)),
              "a process may hang in the kernel; see /proc/PID/stack");
}

Status Groups::kill_after_oom(std::string_view id) {
  for (pid_t pid : processes(id)) {
    if (text_of(fmt::format("{}/proc/{}/oom_score_adj", root_, pid)) == kNeverKill) continue;
    int error = kernel_.kill(pid);
    if (error != 0 && error != ESRCH)
      return fail(system_error(error, fmt::format("killing process {} of {}", pid, id)));
  }
  return {};
}

Result<GroupUsage> Groups::usage(std::string_view id) const {
  std::vector<std::string> ids = list();
  if (!std::ranges::binary_search(ids, id))
    return fail(Reason::NotFound, fmt::format("no cgroup of slice {}", id));
  return read_usage(id);
}

std::vector<std::string> Groups::list() const {
  std::set<std::string> ids;
  for (const std::string& base : bases()) {
    for (std::string& name : kernel_.folders(base)) ids.insert(std::move(name));
  }
  return {ids.begin(), ids.end()};
}

void Groups::remove_empty_base() {
  for (const std::string& base : bases()) kernel_.remove_folder(base);
}

std::string base_group_name(std::string_view state_dir) {
  return fmt::format("tweendeck-{:016x}", XXH3_64bits(state_dir.data(), state_dir.size()));
}

uint64_t round_down_to_page(uint64_t bytes) {
  static const uint64_t page = static_cast<uint64_t>(::sysconf(_SC_PAGESIZE));
  return bytes / page * page;
}

}  // namespace tweendeck::device

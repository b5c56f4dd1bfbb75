#include "device/providers/nvml/tenants.h"

#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <sstream>

namespace tweendeck::device::nvml {
namespace {

// One line of /proc/PID/maps: "address perms offset dev:inode path".
bool line_maps(const std::string& line, const struct stat& file) {
  std::istringstream fields(line);
  std::string address, permissions, offset, device;
  uint64_t inode = 0;
  if (!(fields >> address >> permissions >> offset >> device >> inode)) return false;
  const size_t colon = device.find(':');
  if (colon == std::string::npos || inode != file.st_ino) return false;
  const unsigned long device_major = std::stoul("0" + device.substr(0, colon), nullptr, 16);
  const unsigned long device_minor = std::stoul("0" + device.substr(colon + 1), nullptr, 16);
  return device_major == major(file.st_dev) && device_minor == minor(file.st_dev);
}

}  // namespace

bool maps_file(uint32_t pid, const std::string& path) {
  struct stat file{};
  if (stat(path.c_str(), &file) != 0) return false;
  std::ifstream maps("/proc/" + std::to_string(pid) + "/maps");
  for (std::string line; std::getline(maps, line);) {
    if (line_maps(line, file)) return true;
  }
  return false;
}

std::optional<uint64_t> start_ticks(uint32_t pid) {
  std::ifstream in("/proc/" + std::to_string(pid) + "/stat");
  std::string text((std::istreambuf_iterator<char>(in)), {});
  // The name in parentheses may hold anything; what follows it is field 3, the state.
  const size_t name_end = text.rfind(')');
  if (name_end == std::string::npos) return std::nullopt;
  std::istringstream fields(text.substr(name_end + 1));
  constexpr int kFieldsBetweenStateAndThreads =
      16;  // fields 4 to 19; 20 is threads, 21 skipped, 22 the start
  std::string state, skipped;
  uint64_t threads = 0, start = 0;
  fields >> state;
  for (int i = 0; i < kFieldsBetweenStateAndThreads; ++i) fields >> skipped;
  if (!(fields >> threads >> skipped >> start)) return std::nullopt;
  if ((state == "Z" || state == "X") && threads <= 1) return std::nullopt;
  return start;
}

std::vector<uint32_t> tenants(const std::vector<uint32_t>& candidates, const std::string& usage_path) {
  std::vector<uint32_t> found;
  for (const uint32_t pid : candidates) {
    if (std::ranges::find(found, pid) == found.end() && maps_file(pid, usage_path)) found.push_back(pid);
  }
  return found;
}

Status kill_tenants(const std::vector<uint32_t>& pids, const std::string& usage_path, Nanos wait) {
  for (const uint32_t pid : pids) {
    // The descriptor pins the process: should the pid be reused between check and signal, nothing else is
    // hit.
    const int fd = static_cast<int>(syscall(SYS_pidfd_open, pid, 0));
    if (fd < 0) continue;  // it has ended already
    bool gone = true;
    if (maps_file(pid, usage_path) && syscall(SYS_pidfd_send_signal, fd, SIGKILL, nullptr, 0) == 0) {
      pollfd ended{fd, POLLIN, 0};
      gone = poll(&ended, 1, static_cast<int>(wait / kMillisecond)) == 1;
    }
    close(fd);
    if (!gone) {
      return fail(Reason::Timeout,
                  "process " + std::to_string(pid) + " of the slice did not end after SIGKILL",
                  "it is stuck in the driver; see dmesg");
    }
  }
  return {};
}

}  // namespace tweendeck::device::nvml

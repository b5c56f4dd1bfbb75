// launch.json and exit.json, written so that a reader sees the old file, the new file or none, never a part.
#pragma once

#include <cstdint>
#include <deque>
#include <string>
#include <string_view>

namespace tweendeck::shim {

struct LaunchRecord {
  uint64_t launch = 0;
  int64_t pid = 0;
  uint64_t start_ticks = 0;
  int64_t engine_pid = 0;
  uint64_t engine_start_ticks = 0;
  uint64_t port = 0;
};

struct ExitRecord {
  uint64_t launch = 0;
  int code = 0;
  int signal = 0;
  int64_t wall_ns = 0;
  bool stopped = false;  // the shim had been told to end it
  std::string error;     // why the engine could not be started
  uint64_t dropped_log_bytes = 0;
  std::deque<std::string> tail;
};

std::string to_json(const LaunchRecord& record);
std::string to_json(const ExitRecord& record);  // at most kMaxExitBytes

// Reserves the space of exit.json, so that a disk that fills up later cannot lose the exit's reason.
bool reserve_exit_record(int dir_fd);
bool write_exit_record(int dir_fd, const ExitRecord& record);
bool write_launch_record(int dir_fd, const LaunchRecord& record);

// Field 22 of /proc/<pid>/stat; 0 when the process has ended (a zombie too).
uint64_t start_ticks(int64_t pid);

}  // namespace tweendeck::shim

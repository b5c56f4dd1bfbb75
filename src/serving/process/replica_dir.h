// What a replica's directory tells about its process: the lock is the truth about whether one exists, the
// records say which and how it ended. See serving/shim/layout.h. Stateless; safe from any thread.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"

namespace tweendeck::serving {

inline constexpr size_t kMaxStatusBytes = 64 * 1024;  // status.json is the engine's: bounded, never trusted

struct LaunchRecord {
  uint64_t launch = 0;
  int32_t pid = 0;  // of the shim
  uint64_t start_ticks = 0;
  int32_t engine_pid = 0;
  uint64_t engine_start_ticks = 0;
  uint16_t port = 0;
};

struct ShimExit {
  uint64_t launch = 0;
  int code = 0;
  int signal = 0;
  Nanos wall_ns = 0;
  bool stopped = false;
  std::string error;  // why the engine could not be started
  uint64_t dropped_log_bytes = 0;
  std::vector<std::string> tail;
};

// What the engine itself says in status.json.
struct EngineStatus {
  uint32_t max_in_flight = 0;
  uint32_t context_tokens = 0;
  Reason reason = Reason::None;  // why it gave up
  std::string message;
  std::string hint;
};

class ReplicaDir {
 public:
  // <state_dir>/replicas/<id>
  ReplicaDir(const std::string& state_dir, const std::string& replica_id);

  const std::string& path() const { return path_; }
  std::string file(const char* name) const { return path_ + "/" + name; }

  // Makes the directory (0700) and its empty work directory, owned by `uid` when it is not 0. Removes
  // status.json. Reserves the space of the shim's records, so that a full disk is told here (DiskFull) and
  // not by a shim that cannot.
  Status prepare(uint32_t uid) const;
  Status remove() const;  // with all it holds; a missing one is fine

  bool shim_lives() const;    // byte 0 of the lock
  bool engine_lives() const;  // byte 1
  bool anything_lives() const { return shim_lives() || engine_lives(); }

  std::optional<LaunchRecord> launch() const;
  std::optional<ShimExit> exit() const;
  std::optional<EngineStatus> status() const;

  // Pids of every process that has the lock file open.
  std::vector<int32_t> holders() const;

 private:
  std::string path_;
};

// Whether pid is alive and is the process that had these start ticks.
bool is_process(int32_t pid, uint64_t start_ticks);
// How long ago the process with these start ticks was started.
Nanos process_age(uint64_t start_ticks);

// Every replica directory below the state, by id.
std::vector<std::string> replica_dirs(const std::string& state_dir);
// How many of them have a process, whether or not a daemon runs.
size_t living_replicas(const std::string& state_dir);

}  // namespace tweendeck::serving

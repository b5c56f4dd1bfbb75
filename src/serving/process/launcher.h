// Starts and signals shims. Owned by the controller's thread; a shim dies with that thread until its launch
// record is written (serving/shim/layout.h), so a launch that the daemon cannot remember never happened.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/types.h"
#include "serving/process/replica_dir.h"

namespace tweendeck::serving {

struct LaunchPlan {
  uint64_t launch = 0;  // unique number of this start
  uint32_t start = 1;   // the replica's own count of starts
  uint16_t port = 0;
  uint32_t uid = 0;           // 0 = keep the user
  std::vector<Mount> mounts;  // empty = no sandbox
  std::vector<std::string> cgroup_procs;
  std::vector<EnvVar> env;  // all of it; nothing is inherited
  std::vector<std::string> command;
  int stop_signal = 15;
  Nanos stop_grace = 0;
  uint64_t log_bytes = 0;
};

class Launcher {
 public:
  explicit Launcher(std::string shim_path) : shim_(std::move(shim_path)) {}

  // "" when replicas can have a sandbox here, else why not.
  std::string check_sandbox() const;

  Status start(const std::string& replica_id, const ReplicaDir& dir, const LaunchPlan& plan);

  // Whether a shim that this object started for the replica has not ended yet. Reaps.
  bool child_lives(const std::string& replica_id);

  // To the replica's shim: end the engine (SIGTERM, then SIGKILL after its grace), or end it now.
  Status stop(const std::string& replica_id, const ReplicaDir& dir);
  Status kill(const std::string& replica_id, const ReplicaDir& dir);
  // For a shim that does not obey, or is gone while its engine is not: SIGKILL to every holder of the lock.
  Status kill_holders(const std::string& replica_id, const ReplicaDir& dir);

 private:
  Status signal(const std::string& replica_id, const ReplicaDir& dir, int number);

  std::string shim_;
  std::map<std::string, int32_t> children_;  // replica -> shim's pid
};

// A TCP port of `host` that nothing listens on now and that is not in `taken`.
Result<uint16_t> pick_port(const std::string& host, const std::vector<uint16_t>& taken);

}  // namespace tweendeck::serving

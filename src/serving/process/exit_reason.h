// Why a replica's process ended, in words that a user can act on. Pure.
#pragma once

#include <optional>
#include <string>

#include "serving/process/replica_dir.h"
#include "serving/types.h"

namespace tweendeck::serving {

struct ExitFacts {
  std::string replica_id;
  std::optional<ShimExit> shim;        // nothing: the shim itself was killed
  std::optional<EngineStatus> status;  // what the engine said before it gave up
  uint64_t oom_kills = 0;              // of its slice since this process was started
  uint64_t memory_bytes = 0;           // the slice's limit
  uint64_t memory_peak_bytes = 0;
  Nanos wall_now = 0;
};

ExitRecord explain_exit(const ExitFacts& facts);

}  // namespace tweendeck::serving

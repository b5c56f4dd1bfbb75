// The status file that tells the supervisor what the engine can do, or why it gave up (engine/README.md). Its
// path is TWEENDECK_STATUS_FILE; without one nothing is written. Written beside and renamed, so that nobody
// reads half of it.
#pragma once

#include <cstdint>

#include "base/result.h"

namespace tweendeck::sim {

struct ReadyStatus {
  uint32_t max_in_flight = 0;
  uint32_t context_tokens = 0;
};

Status write_ready(const ReadyStatus& status);
Status write_refusal(const Error& error);

}  // namespace tweendeck::sim

// What the serving engine and its controller need from the rooms they may not see. app/ connects them.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "base/types.h"
#include "serving/types.h"

namespace tweendeck::serving {

// A slice made real, and what the process inside it needs (mirrors device::Preparation).
struct SliceGrant {
  Slice slice;
  std::string provider;                   // of the slice's device
  bool simulated = false;                 // the device is software
  std::vector<EnvVar> env;
  std::vector<Mount> mounts;
  std::vector<std::string> cgroup_procs;
  uint32_t cpu_count = 0;
};

struct Ports {
  // Places and prepares one slice for `owner` with the given slice id. Idempotent per slice id. The error's message
  // is placement::explain's text; its reason the most frequent refusal.
  std::function<Result<SliceGrant>(const DeploymentSpec&, const std::string& owner, const std::string& slice_id)>
      acquire_slice;
  std::function<Status(const std::string& slice_id)> release_slice;
  std::function<bool(const std::string& slice_id)> slice_was_oom_killed;

  // The gateway's view of a replica: called on every change; `remove` when it is gone.
  std::function<void(const Endpoint&)> publish_endpoint;
  std::function<void(const std::string& replica_id)> remove_endpoint;
  // Requests the gateway still has in flight on a replica: drain waits for 0.
  std::function<uint32_t(const std::string& replica_id)> requests_in_flight;

  std::function<void(const Event&)> on_event;  // metrics, log, subscribers; after the event is stored
};

}  // namespace tweendeck::serving

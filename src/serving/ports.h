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
  std::string provider;    // of the slice's device
  bool simulated = false;  // the device is software
  std::vector<EnvVar> env;
  std::vector<Mount> mounts;
  std::vector<std::string> cgroup_procs;
  uint32_t cpu_count = 0;
};

// What a slice uses (mirrors device::SliceUsage). Counters only grow while the slice lives.
struct SliceUse {
  uint64_t memory_bytes = 0;
  uint64_t memory_peak_bytes = 0;
  uint64_t compute_ns = 0;
  uint64_t throttled_ns = 0;
  uint64_t memory_refusals = 0;
  uint64_t oom_kills = 0;  // processes stopped by the slice's own limit
};

// All are called on the controller's thread (list_devices and slice_usage also on callers' threads), may
// block for some milliseconds, and must not call the controller back.
struct Ports {
  // What this machine has now: choosing an engine for a claim needs each device's provider.
  std::function<std::vector<Device>()> list_devices;

  // Places and prepares one slice for `owner` with the given slice id. Idempotent per slice id. The error's
  // message is placement::explain's text; its reason the most frequent refusal.
  std::function<Result<SliceGrant>(const DeploymentSpec&, const std::string& owner,
                                   const std::string& slice_id)>
      acquire_slice;
  std::function<Status(const std::string& slice_id)>
      release_slice;  // unknown ids succeed; ends what runs inside
  // Every slice that is held now; after a restart the controller releases those that none of its replicas
  // owns.
  std::function<std::vector<Slice>()> list_slices;
  // Its oom_kills tell a crash from a replica that was stopped by its own limit.
  std::function<Result<SliceUse>(const std::string& slice_id)> slice_usage;

  // The gateway's view of a replica: called on every change; `remove` when it is gone. A replica without a
  // process is published with port 0, so that its model stays known: Starting = hold requests, Unhealthy = it
  // cannot serve now. A deployment with 0 replicas is published under its own name the same way.
  std::function<void(const Endpoint&)> publish_endpoint;
  std::function<void(const std::string& replica_id)> remove_endpoint;
  // Requests the gateway still has in flight on a replica: drain waits for 0.
  std::function<uint32_t(const std::string& replica_id)> requests_in_flight;

  std::function<void(const Event&)> on_event;  // metrics, log, subscribers; after the event is stored
};

}  // namespace tweendeck::serving

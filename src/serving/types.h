// What users ask to be served and what is known about it. Plain data; the JSON of the local API mirrors these
// fields.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/result.h"
#include "base/types.h"

namespace tweendeck::serving {

// One `serve` or one entry of an `apply` file.
struct DeploymentSpec {
  std::string name;       // DNS label: [a-z0-9-], at most 40 characters
  std::string model;      // reference as given: alias, GGUF file, directory, or a simulated model's name
  std::string engine;     // "" = the first engine that can serve the model on the chosen device
  uint32_t replicas = 1;  // 0 is allowed: the deployment stays known and requests get NoEndpoint
  Claim claim;            // count is ignored; one slice per replica
  std::vector<std::string> model_aliases;  // further names requests may use for the same model
  std::vector<std::string> adapters;       // LoRA adapters: names that the engine gets and tells apart
  uint32_t max_in_flight = 0;              // per replica; 0 = what the engine reports
  std::vector<std::string> engine_args;    // passed through to the engine, after its own
  bool operator==(const DeploymentSpec&) const = default;
};

enum class ReplicaPhase : uint8_t {
  Pending,    // no slice yet; reason says why
  Starting,   // slice prepared, process launched, not ready
  Ready,      // answers its readiness check
  Unhealthy,  // was ready, does not answer now; or its start is refused for good and is rarely tried again
  Draining,   // takes no new requests
  Backoff,    // ended by itself; the next start waits
  Stopped,    // gone; only in events
};
std::string_view to_string(ReplicaPhase phase);

// Why a replica's process ended last time.
struct ExitRecord {
  bool valid = false;
  int exit_code = 0;  // when signal is 0
  int signal = 0;
  Reason reason = Reason::None;
  std::string message;
  std::string hint;
  Nanos wall_ns = 0;
  bool operator==(const ExitRecord&) const = default;
};

struct ReplicaView {
  std::string id;  // "<deployment>-<n>"
  std::string deployment;
  ReplicaPhase phase = ReplicaPhase::Pending;
  Reason reason = Reason::None;
  std::string message;  // the sentence that `why` prints
  std::string hint;
  Slice slice;  // id is "" while Pending
  int32_t pid = 0;
  uint64_t pid_start_ticks = 0;  // field 22 of /proc/<pid>/stat: pid + start time name a process for good
  uint16_t port = 0;
  uint32_t restarts = 0;
  Nanos started_wall_ns = 0;  // when its process was started; 0 without one
  uint32_t max_in_flight = 0;
  uint32_t context_tokens = 0;
  bool simulated = false;
  std::string engine;
  ExitRecord last_exit;
  Nanos phase_since_wall_ns = 0;
  Nanos tried_wall_ns = 0;  // when it was last refused a slice; 0 = it has one, or did not ask
};

struct DeploymentView {
  DeploymentSpec spec;
  std::vector<ReplicaView> replicas;
  uint32_t ready = 0;
  bool removing = false;  // it goes when its replicas are gone
};

struct Event {
  uint64_t id = 0;  // grows by one; never reused
  Nanos wall_ns = 0;
  std::string subject;  // "chat-2", "chat", "daemon", "cpu0"
  Reason reason = Reason::None;
  std::string action;  // low cardinality, CamelCase: "Started", "Ready", "Killed", "Retried", "Scaled" ...
  std::string message;
};

}  // namespace tweendeck::serving

// The serving engine: what must happen next so that every deployment has its replicas.
//
//   std::vector<Action> actions = plan(deployments, replicas, now, config);
//
// Pure and level-triggered: it looks at what is wanted and what is, never at what happened before, so it can
// be called at any time, with any observation lost or repeated, and after a restart. The caller carries each
// action out and tells the outcome with the on_*() transitions below; the simulation in plan_test.cc uses the
// very same ones.
//
// A replica's life:
//   Pending --AcquireSlice--> Pending with slice --Launch--> Starting --MarkReady--> Ready <--> Unhealthy
//   any with a process --RecordExit--> Backoff --Launch--> Starting ...
//   a start that the model server refuses for good --RecordExit--> Unhealthy --Launch, rarely--> Starting ...
//   not wanted: --Drain--> Draining --Stop--> (--Kill-->) no process --ReleaseSlice--> --Forget--> gone
//
// Invariants (tested): a process is launched only into a held slice and only when none is alive; a slice is
// released only when no process is alive; a replica is forgotten only when it holds no slice. Times are Nanos
// on one monotonic line.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/reason.h"
#include "serving/types.h"

namespace tweendeck::serving {

struct PlanConfig {
  Nanos backoff_first =
      500 * kMillisecond;  // wait before the second start; doubles with each failure in a row
  Nanos backoff_max = 60 * kSecond;
  uint32_t backoff_jitter_percent = 20;  // a wait is spread over +- this much
  uint32_t crash_loop_failures = 3;      // failures in a row from which on it is called a crash loop
  Nanos refused_retry = 600 * kSecond;   // what would be refused again is tried only this rarely
  Nanos stable_after = 60 * kSecond;     // ready this long: failures in a row start at 0 again
  Nanos slice_retry = kSecond;           // a replica without a slice asks again after this
  Nanos release_retry = kSecond;         // so does a slice that could not be released
  Nanos unhealthy_limit = 30 * kSecond;  // unhealthy this long: restarted
  Nanos kill_retry = 2 * kSecond;        // a process that outlives SIGKILL gets it again
  uint64_t jitter_seed = 0;
};

// What is wanted of one deployment.
struct Goal {
  std::string deployment;
  uint32_t replicas = 0;
  bool removing = false;  // everything of it must go; the deployment too when nothing is left
  uint64_t revision = 0;  // replicas of another revision are replaced; of those that run, one at a time
  Nanos drain = 0;        // how long running requests may take when a replica is taken away
  Nanos start_limit = 0;  // Starting at most this long
  Nanos stop_grace = 0;   // from Stop to Kill
  uint32_t health_failures = 3;  // checks failed in a row that make a replica Unhealthy
};

// What the controller knows about one replica: its own record and the newest observation.
struct Replica {
  std::string id;  // "<deployment>-<ordinal>"
  std::string deployment;
  uint32_t ordinal = 0;   // from 1
  uint64_t revision = 0;  // of the process or, without one, of the next launch

  ReplicaPhase phase = ReplicaPhase::Pending;
  Reason reason = Reason::None;
  std::string message;
  std::string hint;
  Nanos phase_since = 0;

  std::string slice_id;     // "" = holds none; set before the slice is made, cleared after it is released
  bool slice_held = false;  // the slice is known to exist
  bool launched = false;    // a process was started and its end is not recorded yet
  Nanos launched_at = 0;
  uint32_t failures = 0;  // in a row
  uint32_t restarts = 0;
  Nanos next_attempt = 0;  // of acquiring, launching or releasing
  Nanos stop_sent = 0;     // 0 = not yet
  Nanos kill_sent = 0;
  Reason ending = Reason::None;  // why Tweendeck itself ends the process
  std::string ending_message;
  ExitRecord last_exit;

  // Observed.
  bool alive = false;          // some process of it exists (its lock is held)
  bool answers = false;        // newest readiness or health check succeeded
  uint32_t failed_checks = 0;  // health checks failed in a row
  uint32_t in_flight = 0;      // requests the gateway still has on it
  ExitRecord exit;             // valid when the process left an exit record
};

enum class ActionKind : uint8_t {
  Create,  // a replica with `ordinal` must exist
  AcquireSlice,
  Launch,
  MarkReady,
  MarkUnhealthy,
  RecordExit,     // the process is gone: reason, message and last_exit hold why; wait until `until`
  ClearFailures,  // ready for long enough
  Drain,          // no new requests from now on
  Stop,           // ask the process to end
  Kill,           // end it now
  ReleaseSlice,
  Adopt,  // a process runs that no launch is known of: take it as launched now
  Renew,  // nothing of the old revision is left: start over with the goal's
  Forget,
  ForgetDeployment,
};
std::string_view to_string(ActionKind kind);

struct Action {
  ActionKind kind{};
  std::string deployment;
  std::string replica_id;  // "" for ForgetDeployment
  uint32_t ordinal = 0;    // Create
  uint64_t revision = 0;   // Create, Renew
  Nanos until = 0;         // RecordExit: earliest next start
  Reason reason = Reason::None;
  std::string message;
  std::string hint;
};

// At most one action per replica and call: the outcome of each may change what comes next.
std::vector<Action> plan(const std::vector<Goal>& goals, const std::vector<Replica>& replicas, Nanos now,
                         const PlanConfig& config);

// Whether a process that ended for this reason did nothing wrong: no back-off, no failure counted.
bool ended_by_command(Reason reason);

// Whether the same start would be refused again: only a change of the deployment, the model or the machine
// helps.
bool refused_for_good(Reason reason);

// How long to wait before the start that follows `failures` failures in a row. Deterministic per replica and
// seed.
Nanos backoff_delay(const std::string& replica_id, uint32_t failures, const PlanConfig& config);

// The transitions. Each changes the record exactly as the action's success (or failure) does.
Replica make_replica(const Action& create, Nanos now);
void on_slice_acquired(Replica& replica);
void on_slice_refused(Replica& replica, const Error& why, Nanos now, const PlanConfig& config);
void on_slice_released(Replica& replica);
// Somebody asks to try again now: what waits for its next start, for whatever reason, waits no longer.
void on_retry_asked(Replica& replica, Nanos now);
void on_release_failed(Replica& replica, const Error& why, Nanos now, const PlanConfig& config);
void on_launched(Replica& replica, Nanos now);
void on_launch_failed(Replica& replica, const Error& why, Nanos now, const PlanConfig& config);
// Every action without a side effect on processes or slices, and Stop and Kill once the signal is sent.
void apply_action(Replica& replica, const Action& action, Nanos now);

}  // namespace tweendeck::serving

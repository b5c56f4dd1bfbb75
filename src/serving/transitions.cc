// How a replica's record changes when an action was carried out. See plan.h.
#include "serving/plan.h"

#include <algorithm>

namespace tweendeck::serving {
namespace {

void enter(Replica& replica, ReplicaPhase phase, Nanos now) {
  if (replica.phase != phase) replica.phase_since = now;
  replica.phase = phase;
}

void explain(Replica& replica, Reason reason, std::string message, std::string hint = {}) {
  replica.reason = reason;
  replica.message = std::move(message);
  replica.hint = std::move(hint);
}

void forget_process(Replica& replica) {
  replica.launched = false;
  replica.answers = false;
  replica.failed_checks = 0;
  replica.stop_sent = 0;
  replica.kill_sent = 0;
  replica.ending = Reason::None;
  replica.ending_message.clear();
  replica.exit = {};
}

void apply_exit(Replica& replica, const Action& action, Nanos now) {
  ExitRecord record = replica.exit;
  record.valid = true;
  record.reason = action.reason;
  record.message = action.message;
  record.hint = action.hint;
  forget_process(replica);
  replica.last_exit = std::move(record);
  if (!ended_by_command(action.reason)) ++replica.failures;
  replica.next_attempt = action.until;
  enter(replica, refused_for_good(action.reason) ? ReplicaPhase::Unhealthy : ReplicaPhase::Backoff, now);
  explain(replica, action.reason, action.message, action.hint);
}

void apply_launch(Replica& replica, Nanos now) {
  forget_process(replica);
  replica.launched = true;
  replica.launched_at = now;
  enter(replica, ReplicaPhase::Starting, now);
  explain(replica, Reason::Starting, "waits until its model server is ready");
}

}  // namespace

Replica make_replica(const Action& create, Nanos now) {
  Replica replica;
  replica.id = create.replica_id;
  replica.deployment = create.deployment;
  replica.ordinal = create.ordinal;
  replica.revision = create.revision;
  replica.phase_since = now;
  return replica;
}

void on_slice_acquired(Replica& replica) {
  replica.slice_held = true;
  replica.next_attempt = 0;
  explain(replica, Reason::Starting, "has its slice; its model server starts");
}

void on_slice_refused(Replica& replica, const Error& why, Nanos now, const PlanConfig& config) {
  replica.slice_held = false;
  replica.next_attempt = now + config.slice_retry;
  enter(replica, ReplicaPhase::Pending, now);
  explain(replica, why.reason, why.message, why.hint);
}

void on_slice_released(Replica& replica) {
  replica.slice_id.clear();
  replica.slice_held = false;
  replica.next_attempt = 0;
}

void on_release_failed(Replica& replica, const Error& why, Nanos now, const PlanConfig& config) {
  replica.next_attempt = now + config.release_retry;
  enter(replica, ReplicaPhase::Stopped, now);
  explain(replica, why.reason, "its slice could not be released: " + why.message, why.hint);
}

void on_retry_asked(Replica& replica, Nanos now) {
  const bool waits = replica.phase == ReplicaPhase::Backoff || replica.phase == ReplicaPhase::Unhealthy;
  if (waits && !replica.launched) replica.next_attempt = std::min(replica.next_attempt, now);
}

void on_launched(Replica& replica, Nanos now) {
  if (replica.last_exit.valid) ++replica.restarts;
  apply_launch(replica, now);
}

void on_launch_failed(Replica& replica, const Error& why, Nanos now, const PlanConfig& config) {
  ++replica.failures;
  replica.next_attempt = now + backoff_delay(replica.id, replica.failures, config);
  enter(replica, ReplicaPhase::Backoff, now);
  explain(replica, why.reason, why.message, why.hint);
}

void apply_action(Replica& replica, const Action& action, Nanos now) {
  switch (action.kind) {
    case ActionKind::MarkReady:
      enter(replica, ReplicaPhase::Ready, now);
      explain(replica, Reason::None, "");
      replica.ending = Reason::None;
      replica.stop_sent = 0;
      break;
    case ActionKind::MarkUnhealthy:
      enter(replica, ReplicaPhase::Unhealthy, now);
      explain(replica, action.reason, action.message, action.hint);
      break;
    case ActionKind::RecordExit:
      apply_exit(replica, action, now);
      break;
    case ActionKind::ClearFailures:
      replica.failures = 0;
      break;
    case ActionKind::Drain:
      enter(replica, ReplicaPhase::Draining, now);
      explain(replica, action.reason, action.message, action.hint);
      break;
    case ActionKind::Stop:
      replica.stop_sent = now;
      replica.ending = action.reason;
      replica.ending_message = action.message;
      break;
    case ActionKind::Kill:
      if (replica.stop_sent == 0) replica.stop_sent = now;
      replica.kill_sent = now;
      replica.ending = action.reason;
      replica.ending_message = action.message;
      break;
    case ActionKind::Adopt:
      apply_launch(replica, now);
      break;
    case ActionKind::Renew: {
      forget_process(replica);
      replica.revision = action.revision;
      replica.failures = 0;
      replica.next_attempt = 0;
      replica.last_exit = {};
      enter(replica, ReplicaPhase::Pending, now);
      explain(replica, Reason::Starting, "starts over with the changed deployment");
      break;
    }
    default:
      break;
  }
}

}  // namespace tweendeck::serving

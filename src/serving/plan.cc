#include "serving/plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <functional>
#include <iterator>
#include <map>
#include <set>

#include "base/text.h"
#include "base/units.h"

namespace tweendeck::serving {
namespace {

Action action(ActionKind kind, const Replica& replica, Reason reason = Reason::None, std::string message = {},
              std::string hint = {}) {
  Action result;
  result.kind = kind;
  result.deployment = replica.deployment;
  result.replica_id = replica.id;
  result.reason = reason;
  result.message = std::move(message);
  result.hint = std::move(hint);
  return result;
}

// The end of a process as the record keeps it: why Tweendeck ended it, or what the process left behind.
Action record_exit(const Replica& replica, Nanos now, const PlanConfig& config) {
  Action result = action(ActionKind::RecordExit, replica);
  const bool ours = replica.ending != Reason::None;
  result.reason = ours ? replica.ending : replica.exit.valid ? replica.exit.reason : Reason::ReplicaKilled;
  result.message = ours                 ? replica.ending_message
                   : replica.exit.valid ? replica.exit.message
                                        : "its process vanished";
  result.hint = replica.exit.hint;
  if (ended_by_command(result.reason)) {
    result.until = now;
    return result;
  }
  if (refused_for_good(result.reason)) {
    result.until = now + config.refused_retry;
    result.message = fmt::format("{}; retrying will not help, so the next try is in {}", result.message,
                                 format_duration(config.refused_retry));
    return result;
  }
  const uint32_t failures = replica.failures + 1;
  const Nanos delay = backoff_delay(replica.id, failures, config);
  result.until = now + delay;
  if (failures >= config.crash_loop_failures) {
    result.message = fmt::format("{}; it failed {} times in a row, next start in {}", result.message,
                                 failures, format_duration(delay));
  }
  return result;
}

// Stop, then Kill when the grace is over, then Kill again while it lives.
void end_process(const Replica& replica, const Goal& goal, Nanos now, const PlanConfig& config, Reason reason,
                 const std::string& message, std::vector<Action>& out) {
  if (replica.stop_sent == 0) {
    out.push_back(action(ActionKind::Stop, replica, reason, message));
  } else if (replica.kill_sent == 0) {
    if (now >= replica.stop_sent + goal.stop_grace)
      out.push_back(action(ActionKind::Kill, replica, reason, message));
  } else if (now >= replica.kill_sent + config.kill_retry) {
    out.push_back(action(ActionKind::Kill, replica, reason, message));
  }
}

void retire_process(const Replica& replica, const Goal& goal, Nanos now, const PlanConfig& config,
                    std::vector<Action>& out) {
  if (replica.phase != ReplicaPhase::Draining) {
    Action drain = action(ActionKind::Drain, replica, Reason::Draining);
    drain.message = fmt::format("finishes its requests, {} at most", format_duration(goal.drain));
    out.push_back(std::move(drain));
    return;
  }
  const bool over = now >= replica.phase_since + goal.drain;
  if (replica.in_flight > 0 && !over && replica.stop_sent == 0) return;
  if (replica.in_flight > 0) {
    end_process(
        replica, goal, now, config, Reason::DrainTimeout,
        fmt::format("stopped with {} running: the drain time is over", counted(replica.in_flight, "request")),
        out);
  } else {
    end_process(replica, goal, now, config, Reason::Stopped, "stopped by command", out);
  }
}

// A replica that must go, or must start over with another revision.
void plan_unwanted(const Replica& replica, const Goal& goal, bool renew, Nanos now, const PlanConfig& config,
                   std::vector<Action>& out) {
  if (replica.alive) {
    retire_process(replica, goal, now, config, out);
  } else if (!replica.slice_id.empty()) {
    if (now >= replica.next_attempt || replica.phase != ReplicaPhase::Stopped) {
      out.push_back(action(ActionKind::ReleaseSlice, replica));
    }
  } else if (renew) {
    Action result = action(ActionKind::Renew, replica);
    result.revision = goal.revision;
    out.push_back(std::move(result));
  } else {
    out.push_back(action(ActionKind::Forget, replica));
  }
}

void plan_running(const Replica& replica, const Goal& goal, Nanos now, const PlanConfig& config,
                  std::vector<Action>& out) {
  if (!replica.launched) {
    out.push_back(action(ActionKind::Adopt, replica));
    return;
  }
  if (replica.ending != Reason::None) {
    end_process(replica, goal, now, config, replica.ending, replica.ending_message, out);
    return;
  }
  switch (replica.phase) {
    case ReplicaPhase::Ready:
      if (replica.failed_checks >= goal.health_failures) {
        out.push_back(action(
            ActionKind::MarkUnhealthy, replica, Reason::HealthCheckFailed,
            fmt::format("did not answer {} in a row", counted(replica.failed_checks, "health check"))));
      } else if (replica.failures > 0 && now >= replica.phase_since + config.stable_after) {
        out.push_back(action(ActionKind::ClearFailures, replica));
      }
      return;
    case ReplicaPhase::Unhealthy:
      if (replica.failed_checks == 0 && replica.answers) {
        out.push_back(action(ActionKind::MarkReady, replica));
      } else if (now >= replica.phase_since + config.unhealthy_limit) {
        end_process(replica, goal, now, config, Reason::HealthCheckFailed,
                    fmt::format("restarted: no answer to health checks for {}",
                                format_duration(config.unhealthy_limit)),
                    out);
      }
      return;
    default:
      if (replica.answers) {
        out.push_back(action(ActionKind::MarkReady, replica));
      } else if (now >= replica.launched_at + goal.start_limit) {
        Action kill = action(ActionKind::Kill, replica, Reason::StartTimeout);
        kill.message = fmt::format("was not ready within {}", format_duration(goal.start_limit));
        out.push_back(std::move(kill));
      }
  }
}

void plan_wanted(const Replica& replica, const Goal& goal, Nanos now, const PlanConfig& config,
                 std::vector<Action>& out) {
  if (replica.alive) {
    plan_running(replica, goal, now, config, out);
  } else if (replica.launched) {
    out.push_back(record_exit(replica, now, config));
  } else if (now < replica.next_attempt) {
    return;
  } else {
    out.push_back(action(replica.slice_held ? ActionKind::Launch : ActionKind::AcquireSlice, replica));
  }
}

bool outdated(const Replica& replica, const Goal& goal) {
  return replica.revision != goal.revision && replica.ordinal <= goal.replicas;
}

bool serves(const Replica& replica) {
  return replica.phase == ReplicaPhase::Ready;
}

// The running replica of an old revision that is taken away now. Only one at a time, and only while every
// replica of the new revision serves: a rolling change never costs more than one replica, and halts where the
// new revision does not come up. One that does not serve costs nothing, so it goes first; else the highest
// ordinal.
const Replica* next_to_replace(const Goal& goal, const std::vector<const Replica*>& own) {
  const Replica* candidate = nullptr;
  bool halted = false;
  for (const Replica* replica : own) {
    if (replica->ordinal > goal.replicas) continue;
    if (!outdated(*replica, goal)) {
      halted |= !serves(*replica);
    } else if (!replica->alive) {
      halted = true;  // it is being renewed
    } else {
      if (replica->phase == ReplicaPhase::Draining) return replica;
      if (candidate == nullptr || (!serves(*replica) && serves(*candidate)) ||
          (serves(*replica) == serves(*candidate) && replica->ordinal > candidate->ordinal)) {
        candidate = replica;
      }
    }
  }
  return halted ? nullptr : candidate;
}

void plan_deployment(const Goal& goal, const std::vector<const Replica*>& own, Nanos now,
                     const PlanConfig& config, std::vector<Action>& out) {
  const uint32_t wanted = goal.removing ? 0 : goal.replicas;
  std::set<uint32_t> present;
  const Replica* replaced = goal.removing ? nullptr : next_to_replace(goal, own);
  for (const Replica* replica : own) {
    present.insert(replica->ordinal);
    if (replica->ordinal > wanted) {
      plan_unwanted(*replica, goal, false, now, config, out);
    } else if (replica == replaced || (outdated(*replica, goal) && !replica->alive)) {
      plan_unwanted(*replica, goal, true, now, config, out);
    } else {
      plan_wanted(*replica, goal, now, config, out);
    }
  }
  for (uint32_t ordinal = 1; ordinal <= wanted; ++ordinal) {
    if (present.contains(ordinal)) continue;
    Action create;
    create.kind = ActionKind::Create;
    create.deployment = goal.deployment;
    create.replica_id = fmt::format("{}-{}", goal.deployment, ordinal);
    create.ordinal = ordinal;
    create.revision = goal.revision;
    out.push_back(std::move(create));
  }
  if (goal.removing && own.empty()) {
    Action forget;
    forget.kind = ActionKind::ForgetDeployment;
    forget.deployment = goal.deployment;
    out.push_back(std::move(forget));
  }
}

}  // namespace

std::vector<Action> plan(const std::vector<Goal>& goals, const std::vector<Replica>& replicas, Nanos now,
                         const PlanConfig& config) {
  std::map<std::string_view, std::vector<const Replica*>> by_deployment;
  for (const Replica& replica : replicas) by_deployment[replica.deployment].push_back(&replica);
  std::vector<Action> out;
  for (const Goal& goal : goals) {
    plan_deployment(goal, by_deployment[goal.deployment], now, config, out);
    by_deployment.erase(goal.deployment);
  }
  // A replica whose deployment nobody knows: as if it was being removed, at once.
  for (const auto& [deployment, own] : by_deployment) {
    const Goal gone{.deployment = std::string(deployment), .removing = true};
    for (const Replica* replica : own) plan_unwanted(*replica, gone, false, now, config, out);
  }
  // Slices that become free first, so that those who wait for one can have it in the same round.
  const auto releases = [](const Action& a) { return a.kind == ActionKind::ReleaseSlice; };
  std::vector<Action> ordered;
  std::ranges::copy_if(out, std::back_inserter(ordered), releases);
  std::ranges::copy_if(out, std::back_inserter(ordered), std::not_fn(releases));
  return ordered;
}

bool ended_by_command(Reason reason) {
  return reason == Reason::Stopped || reason == Reason::DrainTimeout;
}

bool refused_for_good(Reason reason) {
  switch (reason) {
    case Reason::InvalidArgument:
    case Reason::SliceTooSmall:
    case Reason::ModelCorrupt:
    case Reason::ModelNotFound:
    case Reason::EngineCannotServe:
    case Reason::DriverMissing:
      return true;
    default:
      return false;
  }
}

Nanos backoff_delay(const std::string& replica_id, uint32_t failures, const PlanConfig& config) {
  if (failures == 0) return 0;
  const uint32_t doublings = std::min(failures - 1, 30u);
  const Nanos base = doublings >= 30 || config.backoff_first > (config.backoff_max >> doublings)
                         ? config.backoff_max
                         : config.backoff_first << doublings;
  uint64_t seed = config.jitter_seed + failures;
  for (const char c : replica_id) seed = seed * 1099511628211ull + static_cast<unsigned char>(c);
  const uint64_t span = 2ull * config.backoff_jitter_percent + 1;
  const auto percent = static_cast<Nanos>(100 - config.backoff_jitter_percent + Random(seed).below(span));
  return base / 100 * percent;
}

}  // namespace tweendeck::serving

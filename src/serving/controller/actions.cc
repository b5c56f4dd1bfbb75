// How each action of the engine is carried out.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <set>

#include "base/log.h"
#include "base/units.h"
#include "serving/controller/impl.h"
#include "serving/controller/launch_plan.h"
#include "serving/shim/layout.h"

namespace tweendeck::serving {
namespace {

std::string words(const Share& share) {
  return fmt::format("{} and {} %", format_bytes(share.memory_bytes), share.compute_percent);
}

}  // namespace

void Controller::Impl::carry_out(const Action& action) {
  if (action.kind == ActionKind::Create) return create(action);
  if (action.kind == ActionKind::ForgetDeployment) return forget_deployment(action.deployment);
  const auto found = replicas.find(action.replica_id);
  if (found == replicas.end()) return;
  Managed& managed = found->second;
  switch (action.kind) {
    case ActionKind::AcquireSlice:
      return acquire(managed);
    case ActionKind::Launch:
      return launch(managed);
    case ActionKind::Adopt:
      return adopt(managed, action);
    case ActionKind::Stop:
    case ActionKind::Kill:
      return end(managed, action);
    case ActionKind::ReleaseSlice:
      return release(managed);
    case ActionKind::Forget:
      return forget(action.replica_id);
    default:
      return simple(managed, action);
  }
}

void Controller::Impl::create(const Action& action) {
  std::set<uint32_t> taken;
  for (const auto& [id, managed] : replicas) taken.insert(managed.uid_index);
  uint32_t index = 0;
  while (taken.contains(index)) ++index;
  if (index >= kUidCount) return;
  Managed managed;
  managed.replica = make_replica(action, clock.now());
  managed.uid_index = index;
  managed.phase_wall = clock.wall_now();
  // Not stored = not created: a slice must never exist without a stored owner.
  if (!save(managed)) return;
  replicas.emplace(action.replica_id, std::move(managed));
}

void Controller::Impl::acquire(Managed& managed) {
  Replica& replica = managed.replica;
  const auto owner = deployment(replica.deployment);
  if (!owner) return;
  const auto refuse = [&](const Error& why) {
    on_slice_refused(replica, why, clock.now(), config.plan);
    managed.tried_wall = clock.wall_now();
    if (const std::string text = to_string(why); managed.told != text) {
      managed.told = text;
      event(replica.id, why.reason, "Refused", why.message);
    }
  };
  if (replica.slice_id.empty()) {
    auto number = store.next_number();
    if (!number) return refuse(number.error());
    replica.slice_id = fmt::format("{}.{}", replica.id, *number);
    if (auto saved = save(managed); !saved) {
      replica.slice_id.clear();
      return refuse(saved.error());
    }
  }
  DeploymentSpec spec = owner->spec;
  if (const EngineSpec* engine = engine_of(*owner))
    spec.claim = engine_claim(spec.claim, *engine, ports.list_devices());
  auto grant = ports.acquire_slice(spec, replica.id, replica.slice_id);
  if (!grant) return refuse(grant.error());
  managed.grant = std::move(*grant);
  managed.told.clear();
  managed.tried_wall = 0;
  managed.slice = managed.grant->slice;
  managed.simulated_device = managed.grant->simulated;
  on_slice_acquired(replica);
  const Slice& slice = managed.slice;
  event(
      replica.id, slice.isolation_reason, "SliceAcquired",
      fmt::format("{} of {}, isolation {}", words(slice.share), slice.device_id, to_string(slice.isolation)));
}

void Controller::Impl::launch(Managed& managed) {
  Replica& replica = managed.replica;
  const auto owner = deployment(replica.deployment);
  if (!owner || !managed.grant) return;
  auto engine = catalog.find(owner->engine);
  Status started = engine ? start_process(managed, *owner, **engine) : fail(engine.error());
  if (!started) {
    on_launch_failed(replica, started.error(), clock.now(), config.plan);
    event(replica.id, started.error().reason, "StartFailed", started.error().message);
    return;
  }
  on_launched(replica, clock.now());
  save_or_warn(managed);
  event(replica.id, Reason::None, "Started",
        fmt::format("engine {} on {}:{}, start {}", owner->engine, config.host, managed.port,
                    replica.restarts + 1));
}

Status Controller::Impl::start_process(Managed& managed, const StoredDeployment& owner,
                                       const EngineSpec& engine) {
  Replica& replica = managed.replica;
  const ReplicaDir its = dir(replica.id);
  std::vector<uint16_t> ports_taken;
  for (const auto& [id, other] : replicas) ports_taken.push_back(other.port);
  auto port = pick_port(config.host, ports_taken);
  if (!port) return fail(port.error());
  auto number = store.next_number();
  if (!number) return fail(number.error());
  if (const auto use = ports.slice_usage(replica.slice_id)) managed.oom_kills_seen = use->oom_kills;

  LaunchInput input;
  input.deployment = &owner;
  input.engine = &engine;
  input.grant = &*managed.grant;
  input.replica_id = replica.id;
  input.replica_dir = its.path();
  input.host = config.host;
  input.python = config.python;
  input.bin_dir = config.bin_dir;
  input.port = *port;
  input.launch = *number;
  input.start = replica.restarts + (replica.last_exit.valid ? 1 : 0) + 1;
  input.uid = geteuid() == 0 ? kUidBase + managed.uid_index : 0;
  input.sandbox = sandbox_problem.empty();
  input.log_bytes = config.log_bytes;
  for (const Device& device : ports.list_devices()) {
    if (device.id == managed.grant->slice.device_id && device.provider == "cpu")
      input.device_cpus = device.compute_units;
  }
  if (auto prepared = its.prepare(input.uid); !prepared) return prepared;
  if (auto saved = save(managed); !saved) return saved;
  if (auto started = launcher.start(replica.id, its, make_launch_plan(input)); !started) return started;
  managed.launch = input.launch;
  managed.port = input.port;
  managed.pid = 0;
  managed.pid_start_ticks = 0;
  managed.started_wall = clock.wall_now();
  managed.status = {};
  managed.next_probe = 0;
  return {};
}

void Controller::Impl::adopt(Managed& managed, const Action& action) {
  Replica& replica = managed.replica;
  const auto record = dir(replica.id).launch();
  if (!record || !is_process(record->pid, record->start_ticks)) {
    // The lock is held but nobody has written down by whom: a start that is being cut off, or what is left of
    // one.
    if (managed.first_seen == 0) managed.first_seen = clock.now();
    if (clock.now() < managed.first_seen + kAdoptionPatience) return;
    if (auto killed = launcher.kill_holders(replica.id, dir(replica.id)); !killed)
      log::error(to_string(killed.error()));
    managed.first_seen = clock.now();
    return;
  }
  managed.first_seen = 0;
  managed.launch = record->launch;
  managed.port = record->port;
  managed.pid = record->engine_pid;
  managed.pid_start_ticks = record->engine_start_ticks;
  managed.started_wall = clock.wall_now() - process_age(record->start_ticks);
  managed.next_probe = 0;
  find_slice(managed);
  apply_action(replica, action, clock.now());
  event(replica.id, Reason::None, "Adopted",
        fmt::format("pid {} on port {} was running already", managed.pid, managed.port));
}

// What the device room holds for a replica that this controller did not start itself.
void Controller::Impl::find_slice(Managed& managed) {
  for (const Slice& slice : ports.list_slices()) {
    if (slice.id == managed.replica.slice_id) managed.slice = slice;
  }
  for (const Device& device : ports.list_devices()) {
    if (device.id == managed.slice.device_id) managed.simulated_device = device.simulated;
  }
}

void Controller::Impl::end(Managed& managed, const Action& action) {
  Replica& replica = managed.replica;
  const ReplicaDir its = dir(replica.id);
  const bool again = replica.kill_sent != 0;
  const Status sent = action.kind == ActionKind::Stop ? launcher.stop(replica.id, its)
                      : again                         ? launcher.kill_holders(replica.id, its)
                                                      : launcher.kill(replica.id, its);
  if (!sent)
    log::error("Failed to end replica", {{"replica", replica.id}, {"error", to_string(sent.error())}});
  const bool first = replica.stop_sent == 0;
  apply_action(replica, action, clock.now());
  if (first || action.kind == ActionKind::Kill) {
    event(replica.id, action.reason, action.kind == ActionKind::Stop ? "Stopping" : "Killed", action.message);
  }
}

void Controller::Impl::release(Managed& managed) {
  Replica& replica = managed.replica;
  if (auto released = ports.release_slice(replica.slice_id); !released) {
    const bool first = replica.phase != ReplicaPhase::Stopped;
    on_release_failed(replica, released.error(), clock.now(), config.plan);
    if (first) event(replica.id, released.error().reason, "ReleaseFailed", released.error().message);
    return;
  }
  managed.grant.reset();
  managed.slice = {};
  on_slice_released(replica);
  save_or_warn(managed);
  // Whoever waits for room may ask again at once.
  for (auto& [id, other] : replicas) {
    if (other.replica.phase == ReplicaPhase::Pending) other.replica.next_attempt = 0;
  }
}

void Controller::Impl::forget(const std::string& id) {
  if (auto erased = store.erase_replica(id); !erased) {
    log::warning("Failed to forget replica", {{"replica", id}, {"error", to_string(erased.error())}});
    return;
  }
  if (auto removed = dir(id).remove(); !removed) log::warning(to_string(removed.error()));
  ports.remove_endpoint(id);
  prober->forget(id);
  replicas.erase(id);
  event(id, Reason::Stopped, "Stopped", "its process has ended and its slice is released");
}

void Controller::Impl::forget_deployment(const std::string& name) {
  const std::lock_guard one_command(applying);
  const auto owner = deployment(name);
  if (!owner || !owner->removing) return;  // wanted again meanwhile
  if (auto erased = store.erase_deployment(name); !erased) {
    log::warning("Failed to forget deployment", {{"deployment", name}, {"error", to_string(erased.error())}});
    return;
  }
  {
    const std::lock_guard lock(mutex);
    deployments.erase(name);
  }
  event(name, Reason::Stopped, "Removed", "nothing of it is left");
}

void Controller::Impl::simple(Managed& managed, const Action& action) {
  Replica& replica = managed.replica;
  const Nanos since = replica.launched_at;
  apply_action(replica, action, clock.now());
  switch (action.kind) {
    case ActionKind::MarkReady:
      if (const auto status = dir(replica.id).status()) managed.status = *status;
      event(replica.id, Reason::None, "Ready", fmt::format("after {}", format_duration(clock.now() - since)));
      break;
    case ActionKind::MarkUnhealthy:
      event(replica.id, action.reason, "Unhealthy", action.message);
      break;
    case ActionKind::Drain:
      event(replica.id, Reason::Draining, "Draining", action.message);
      break;
    case ActionKind::RecordExit:
      managed.pid = 0;
      managed.port = 0;
      managed.started_wall = 0;
      // Recorded now; a restarted daemon must not record it a second time.
      unlink(dir(replica.id).file(shim::kLaunchFile).c_str());
      event(replica.id, action.reason, "Exited", action.message);
      break;
    default:
      break;
  }
  save_or_warn(managed);
}

Status Controller::Impl::save(Managed& managed) {
  const Replica& replica = managed.replica;
  StoredReplica stored;
  stored.id = replica.id;
  stored.deployment = replica.deployment;
  stored.ordinal = replica.ordinal;
  stored.revision = replica.revision;
  stored.slice_id = replica.slice_id;
  stored.uid_index = managed.uid_index;
  stored.restarts = replica.restarts;
  stored.failures = replica.failures;
  stored.oom_kills_seen = managed.oom_kills_seen;
  stored.last_exit = replica.last_exit;
  if (stored == managed.stored) return {};
  const Status written = store.put_replica(stored);
  const std::lock_guard lock(mutex);
  if (written) {
    managed.stored = std::move(stored);
    store_problem.reset();
  } else {
    if (!store_problem)
      log::error("Failed to store replica", {{"replica", replica.id}, {"error", to_string(written.error())}});
    store_problem = written.error();
  }
  return written;
}

// For what may be lost in a crash without harm: it is written again with the next change, and doctor tells.
void Controller::Impl::save_or_warn(Managed& managed) {
  static_cast<void>(save(managed));
}

}  // namespace tweendeck::serving

// The controller's thread: observe, plan, act, publish.
#include <fmt/format.h>
#include <unistd.h>

#include <chrono>
#include <set>

#include "base/log.h"
#include "serving/controller/impl.h"
#include "serving/process/exit_reason.h"
#include "serving/shim/layout.h"

namespace tweendeck::serving {
namespace {

Replica replica_from(const StoredReplica& stored, Nanos now) {
  Replica replica;
  replica.id = stored.id;
  replica.deployment = stored.deployment;
  replica.ordinal = stored.ordinal;
  replica.revision = stored.revision;
  replica.slice_id = stored.slice_id;
  replica.restarts = stored.restarts;
  replica.failures = stored.failures;
  replica.last_exit = stored.last_exit;
  replica.phase_since = now;
  return replica;
}

}  // namespace

Controller::Impl::Impl(ControllerConfig config_, Ports ports_, StateStore& store_,
                       const EngineCatalog& catalog_, const Clock& clock_)
    : config(std::move(config_)),
      ports(std::move(ports_)),
      store(store_),
      catalog(catalog_),
      clock(clock_),
      spare(config.state_dir),
      launcher(config.shim) {
  prober.emplace([this] { wake(); });
}

Controller::Impl::~Impl() {
  {
    const std::lock_guard lock(wake_mutex);
    stopping = true;
  }
  wake_signal.notify_all();
  if (thread.joinable()) thread.join();
  prober.reset();
  flush_events();
}

void Controller::Impl::wake() {
  {
    const std::lock_guard lock(wake_mutex);
    woken = true;
  }
  wake_signal.notify_all();
}

Status Controller::Impl::load() {
  auto stored_deployments = store.deployments();
  if (!stored_deployments) return fail(stored_deployments.error());
  for (StoredDeployment& each : *stored_deployments) deployments.emplace(each.spec.name, std::move(each));
  auto stored_replicas = store.replicas();
  if (!stored_replicas) return fail(stored_replicas.error());
  auto last = store.last_event_id();
  if (!last) return fail(last.error());
  last_event = *last;
  for (StoredReplica& each : *stored_replicas) {
    Managed managed;
    managed.replica = replica_from(each, clock.now());
    managed.uid_index = each.uid_index;
    managed.oom_kills_seen = each.oom_kills_seen;
    managed.phase_wall = clock.wall_now();
    const ReplicaDir its = dir(each.id);
    if (const auto record = its.launch(); record && !its.anything_lives()) {
      // It ended while no daemon looked: the first round records why.
      managed.launch = record->launch;
      managed.replica.launched = true;
    }
    managed.stored = std::move(each);
    replicas.emplace(managed.replica.id, std::move(managed));
  }
  sandbox_problem = geteuid() == 0 ? launcher.check_sandbox() : "the daemon is not root";
  if (!sandbox_problem.empty()) {
    log::warning("Replicas run without a sandbox",
                 {{"reason", Reason::SandboxUnavailable}, {"cause", sandbox_problem}});
  }
  // Directories whose replica is not known hold at most logs of the past; what still runs there nobody asked
  // for.
  for (const std::string& id : replica_dirs(config.state_dir)) {
    if (replicas.contains(id)) continue;
    if (auto killed = launcher.kill_holders(id, dir(id)); !killed) log::error(to_string(killed.error()));
    if (auto removed = dir(id).remove(); !removed) log::warning(to_string(removed.error()));
  }
  release_unowned_slices();
  return {};
}

void Controller::Impl::release_unowned_slices() {
  std::set<std::string> owned;
  for (const auto& [id, managed] : replicas) owned.insert(managed.replica.slice_id);
  for (const Slice& slice : ports.list_slices()) {
    if (owned.contains(slice.id)) continue;
    const Status released = ports.release_slice(slice.id);
    event(slice.owner.empty() ? slice.id : slice.owner,
          released ? Reason::SliceLeaked : released.error().reason, released ? "Released" : "ReleaseFailed",
          released ? fmt::format("slice {} on {} had no owner and was released", slice.id, slice.device_id)
                   : released.error().message);
  }
}

void Controller::Impl::run() {
  for (;;) {
    {
      std::unique_lock lock(wake_mutex);
      wake_signal.wait_for(lock, std::chrono::nanoseconds(kTickInterval),
                           [this] { return woken || stopping; });
      if (stopping) return;
      woken = false;
    }
    tick();
  }
}

void Controller::Impl::heed_retries() {
  std::set<std::string> asked;
  {
    const std::lock_guard lock(mutex);
    asked.swap(retry_asked);
  }
  for (auto& [id, managed] : replicas) {
    if (asked.contains(managed.replica.deployment)) on_retry_asked(managed.replica, clock.now());
  }
}

void Controller::Impl::tick() {
  heed_retries();
  for (int i = 0; i < kMaxRounds; ++i) {
    observe();
    if (!round()) break;
  }
  publish();
  keep_spare();
}

// Not while something ends: that may need the room it has just given up.
void Controller::Impl::keep_spare() {
  if (clock.now() < next_spare) return;
  next_spare = clock.now() + kSpareInterval;
  {
    const std::lock_guard lock(mutex);
    for (const auto& [name, each] : deployments) {
      if (each.removing) return;
    }
  }
  spare.keep();
}

std::vector<Goal> Controller::Impl::goals() const {
  const std::lock_guard lock(mutex);
  std::vector<Goal> result;
  for (const auto& [name, deployment] : deployments) {
    Goal goal;
    goal.deployment = name;
    goal.replicas = deployment.spec.replicas;
    goal.removing = deployment.removing;
    goal.revision = deployment.revision;
    goal.drain = deployment.removing ? deployment.drain : config.drain;
    const EngineSpec fallback;
    const EngineSpec* engine = engine_of(deployment);
    const EngineSpec& spec = engine == nullptr ? fallback : *engine;
    goal.start_limit = spec.ready_timeout;
    goal.stop_grace = spec.stop_grace + kShimMargin;
    goal.health_failures = spec.health_failures;
    result.push_back(std::move(goal));
  }
  return result;
}

bool Controller::Impl::round() {
  std::vector<Replica> known;
  for (const auto& [id, managed] : replicas) known.push_back(managed.replica);
  const std::vector<Action> actions = plan(goals(), known, clock.now(), config.plan);
  for (const Action& action : actions) carry_out(action);
  return !actions.empty();
}

void Controller::Impl::observe() {
  for (auto& [id, managed] : replicas) observe(managed);
}

void Controller::Impl::observe(Managed& managed) {
  Replica& replica = managed.replica;
  const ReplicaDir its = dir(replica.id);
  const bool child = launcher.child_lives(replica.id);
  const bool shim = its.shim_lives();
  const bool engine_only = !child && !shim && its.engine_lives();
  if (engine_only) {
    // Its shim was killed. The kernel ends the engine itself; this ends what the engine had started.
    if (auto killed = launcher.kill_holders(replica.id, its); !killed) log::error(to_string(killed.error()));
  }
  replica.alive = child || shim || engine_only;
  if (!replica.alive) {
    if (replica.launched && !replica.exit.valid) read_exit(managed);
    return;
  }
  if (replica.phase == ReplicaPhase::Draining) replica.in_flight = ports.requests_in_flight(replica.id);
  if (const auto owner = deployment(replica.deployment); owner && replica.launched) {
    if (const EngineSpec* engine = engine_of(*owner)) probe(managed, *engine);
  }
  if (managed.pid == 0 && replica.launched) {
    if (const auto record = its.launch(); record && record->launch == managed.launch) {
      managed.pid = record->engine_pid;
      managed.pid_start_ticks = record->engine_start_ticks;
    }
  }
}

void Controller::Impl::probe(Managed& managed, const EngineSpec& engine) {
  Replica& replica = managed.replica;
  const ProbeResult result = prober->latest(replica.id, managed.launch);
  replica.answers = result.ok;
  replica.failed_checks = result.failures;
  const bool starting = replica.phase == ReplicaPhase::Starting;
  if (starting && managed.status.max_in_flight == 0) {
    if (const auto status = dir(replica.id).status()) managed.status = *status;
  }
  if (managed.port == 0 || clock.now() < managed.next_probe) return;
  managed.next_probe = clock.now() + (starting ? kReadyProbeInterval : engine.health_interval);
  prober->request(ProbeTarget{.id = replica.id,
                              .launch = managed.launch,
                              .host = config.host,
                              .port = managed.port,
                              .path = starting ? engine.ready_path : engine.health_path,
                              .timeout = starting ? kReadyProbeTimeout : engine.health_timeout});
}

void Controller::Impl::read_exit(Managed& managed) {
  Replica& replica = managed.replica;
  const ReplicaDir its = dir(replica.id);
  ExitFacts facts;
  facts.replica_id = replica.id;
  facts.shim = its.exit();
  if (facts.shim && facts.shim->launch != managed.launch) facts.shim.reset();
  facts.status = its.status();
  facts.wall_now = clock.wall_now();
  facts.memory_bytes = managed.slice.share.memory_bytes;
  if (auto owner = deployment(replica.deployment); owner && facts.memory_bytes == 0) {
    facts.memory_bytes = owner->spec.claim.share.memory_bytes;
  }
  if (const auto use = ports.slice_usage(replica.slice_id)) {
    facts.oom_kills = use->oom_kills > managed.oom_kills_seen ? use->oom_kills - managed.oom_kills_seen : 0;
  }
  replica.exit = explain_exit(facts);
  managed.tail = facts.shim ? facts.shim->tail : std::vector<std::string>{};
}

std::optional<StoredDeployment> Controller::Impl::deployment(const std::string& name) const {
  const std::lock_guard lock(mutex);
  const auto found = deployments.find(name);
  return found == deployments.end() ? std::nullopt : std::optional(found->second);
}

const EngineSpec* Controller::Impl::engine_of(const StoredDeployment& deployment) const {
  auto engine = catalog.find(deployment.engine);
  return engine ? *engine : nullptr;
}

}  // namespace tweendeck::serving

// What others see of the controller's state: endpoints for the gateway, views for the API, events for
// everyone.
#include <fmt/format.h>

#include <algorithm>

#include "base/log.h"
#include "serving/controller/impl.h"

namespace tweendeck::serving {
namespace {

EndpointState endpoint_state(const Replica& replica, const PlanConfig& config) {
  switch (replica.phase) {
    case ReplicaPhase::Ready:
      return EndpointState::Ready;
    case ReplicaPhase::Draining:
      return EndpointState::Draining;
    case ReplicaPhase::Starting:
      return EndpointState::Starting;
    // It will be back within seconds: requests may wait for it. A crash loop is no place to wait.
    case ReplicaPhase::Backoff:
      return replica.failures < config.crash_loop_failures ? EndpointState::Starting
                                                           : EndpointState::Unhealthy;
    case ReplicaPhase::Pending:
      return replica.slice_held ? EndpointState::Starting : EndpointState::Unhealthy;
    default:
      return EndpointState::Unhealthy;
  }
}

std::vector<std::string> model_names(const StoredDeployment& deployment) {
  std::vector<std::string> names{deployment.spec.name};
  const auto add = [&names](const std::string& name) {
    if (!name.empty() && std::ranges::find(names, name) == names.end()) names.push_back(name);
  };
  add(deployment.model_name);
  for (const std::string& alias : deployment.spec.model_aliases) add(alias);
  for (const std::string& adapter : deployment.spec.adapters) add(adapter);
  return names;
}

}  // namespace

void Controller::Impl::publish() {
  publish_endpoints();
  flush_events();  // before the views: who sees that a replica is gone finds its last event
  publish_views();
}

Endpoint Controller::Impl::endpoint(const Managed& managed, const StoredDeployment& deployment,
                                    const EngineSpec* engine) const {
  const Replica& replica = managed.replica;
  Endpoint result;
  result.id = replica.id;
  result.deployment = replica.deployment;
  result.address = config.host;
  result.port = replica.alive ? managed.port : uint16_t{0};
  result.models = model_names(deployment);
  result.adapters = deployment.spec.adapters;
  result.served_model = deployment.model_name;
  result.state = endpoint_state(replica, config.plan);
  result.max_in_flight =
      deployment.spec.max_in_flight != 0 ? deployment.spec.max_in_flight : managed.status.max_in_flight;
  result.engine = deployment.engine;
  result.simulated = (engine != nullptr && engine->simulated) || managed.simulated_device;
  if (engine != nullptr && result.port != 0) result.metrics_path = engine->metrics_path;
  return result;
}

void Controller::Impl::publish_endpoints() {
  std::map<std::string, StoredDeployment> wanted;
  {
    const std::lock_guard lock(mutex);
    wanted = deployments;
  }
  for (auto& [id, managed] : replicas) {
    const auto owner = wanted.find(managed.replica.deployment);
    if (owner == wanted.end()) continue;
    Endpoint now = endpoint(managed, owner->second, engine_of(owner->second));
    if (managed.published == now) continue;
    ports.publish_endpoint(now);
    managed.published = std::move(now);
  }
  std::map<std::string, Endpoint> names_only;
  for (const auto& [name, owner] : wanted) {
    if (owner.spec.replicas != 0 || owner.removing) continue;
    Managed none;
    none.replica.id = name;
    none.replica.deployment = name;
    names_only.emplace(name, endpoint(none, owner, engine_of(owner)));
  }
  for (const auto& [name, old] : placeholders) {
    if (!names_only.contains(name)) ports.remove_endpoint(name);
  }
  for (const auto& [name, now] : names_only) {
    const auto old = placeholders.find(name);
    if (old == placeholders.end() || old->second != now) ports.publish_endpoint(now);
  }
  placeholders = std::move(names_only);
}

ReplicaView Controller::Impl::view(Managed& managed) {
  const Replica& replica = managed.replica;
  if (managed.shown_phase != replica.phase) {
    managed.shown_phase = replica.phase;
    managed.phase_wall = clock.wall_now();
  }
  ReplicaView result;
  result.id = replica.id;
  result.deployment = replica.deployment;
  result.phase = replica.phase;
  result.reason = replica.reason;
  result.message = replica.message;
  result.hint = replica.hint;
  result.slice = managed.slice;
  result.pid = managed.pid;
  result.pid_start_ticks = managed.pid_start_ticks;
  result.port = replica.alive ? managed.port : uint16_t{0};
  result.restarts = replica.restarts;
  result.started_wall_ns = managed.started_wall;
  result.max_in_flight = managed.status.max_in_flight;
  result.context_tokens = managed.status.context_tokens;
  if (managed.published) {
    result.simulated = managed.published->simulated;
    result.engine = managed.published->engine;
  }
  result.last_exit = replica.last_exit;
  result.phase_since_wall_ns = managed.phase_wall;
  result.tried_wall_ns = managed.tried_wall;
  return result;
}

void Controller::Impl::publish_views() {
  std::map<std::string, ReplicaView> now;
  std::map<std::string, std::vector<std::string>> last_lines;
  for (auto& [id, managed] : replicas) {
    now.emplace(id, view(managed));
    if (!managed.tail.empty()) last_lines.emplace(id, managed.tail);
  }
  {
    const std::lock_guard lock(mutex);
    views = std::move(now);
    tails = std::move(last_lines);
  }
  changed.notify_all();
}

void Controller::Impl::event(const std::string& subject, Reason reason, const std::string& action,
                             const std::string& message) {
  log::info(action, {{"subject", subject}, {"reason", reason}, {"message", message}});
  Event each;
  each.wall_ns = clock.wall_now();
  each.subject = subject;
  each.reason = reason;
  each.action = action;
  each.message = message;
  const std::lock_guard lock(mutex);
  unstored.push_back(std::move(each));
  while (unstored.size() > kMaxUnstoredEvents) {
    unstored.pop_front();
    ++lost_events;
  }
}

void Controller::Impl::flush_events() {
  std::vector<Event> batch;
  {
    const std::lock_guard lock(mutex);
    batch.assign(unstored.begin(), unstored.end());
  }
  if (batch.empty()) return;
  const Status stored = store.append_events(batch);
  {
    const std::lock_guard lock(mutex);
    if (!stored) {
      if (!store_problem) log::error("Failed to store events", {{"error", to_string(stored.error())}});
      store_problem = stored.error();
      return;  // kept for the next tick
    }
    store_problem.reset();
    unstored.erase(unstored.begin(), unstored.begin() + static_cast<std::ptrdiff_t>(batch.size()));
    last_event = batch.back().id;
  }
  if (ports.on_event) {
    for (const Event& each : batch) ports.on_event(each);
  }
  changed.notify_all();
}

}  // namespace tweendeck::serving

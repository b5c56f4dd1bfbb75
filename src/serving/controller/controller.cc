#include "serving/controller/controller.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <set>

#include "base/text.h"
#include "base/units.h"
#include "serving/controller/impl.h"
#include "serving/controller/launch_plan.h"
#include "serving/spec/deployment_spec.h"

namespace tweendeck::serving {
namespace {

// Whether running replicas still fit what is wanted: everything that reaches the process or its slice.
bool same_process(const StoredDeployment& a, const StoredDeployment& b) {
  return a.engine == b.engine && a.model_format == b.model_format && a.model_path == b.model_path &&
         a.model_name == b.model_name && a.spec.claim == b.spec.claim &&
         a.spec.engine_args == b.spec.engine_args && a.spec.adapters == b.spec.adapters;
}

// A share that no device could ever have is refused at once; one that only does not fit now waits.
Status check_share(const DeploymentSpec& spec, const EngineSpec& engine, const std::vector<Device>& devices) {
  const Claim claim = engine_claim(spec.claim, engine, devices);
  const Device* largest = nullptr;
  for (const Device& device : devices) {
    const bool selected = std::ranges::any_of(claim.device_ids, [&](const std::string& wanted) {
      return wanted == device.id || wanted == device.provider;
    });
    if (selected && (largest == nullptr || device.memory_bytes > largest->memory_bytes)) largest = &device;
  }
  const uint64_t wanted = spec.claim.share.memory_bytes;
  if (largest == nullptr || wanted <= largest->memory_bytes) return {};
  return fail(Reason::MemoryExceedsDevice,
              fmt::format("{} wants {} for each replica; the largest device, {}, has {}", spec.name,
                          format_bytes(wanted), largest->id, format_bytes(largest->memory_bytes)),
              "give a smaller --memory");
}

std::unexpected<Error> unknown(const std::string& name, const std::vector<std::string>& known) {
  const std::string_view near = nearest(name, {known.begin(), known.end()});
  return fail(Reason::NotFound,
              fmt::format("no deployment is called '{}'", name.substr(0, 2 * kMaxNameBytes)),
              near.empty() ? "`tweendeck ps` lists them" : fmt::format("did you mean '{}'?", near));
}

}  // namespace

std::string_view to_string(Applied applied) {
  switch (applied) {
    case Applied::Created:
      return "created";
    case Applied::Changed:
      return "changed";
    case Applied::Unchanged:
      return "unchanged";
  }
  return "unknown";
}

Controller::Controller(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Controller::~Controller() = default;

Result<std::unique_ptr<Controller>> Controller::start(ControllerConfig config, Ports ports, StateStore& store,
                                                      const EngineCatalog& catalog, const Clock& clock) {
  auto impl = std::make_unique<Impl>(std::move(config), std::move(ports), store, catalog, clock);
  // Everything, the first tick too, runs on the controller's thread: shims die with the thread that started
  // them until they are on record.
  Status loaded;
  bool done = false;
  Impl* raw = impl.get();
  impl->thread = std::thread([raw, &loaded, &done] {
    Status result = raw->load();
    const bool ok = result.has_value();
    if (ok) raw->tick();
    {
      const std::lock_guard lock(raw->mutex);
      loaded = std::move(result);
      done = true;
    }
    raw->changed.notify_all();
    if (ok) raw->run();
  });
  {
    std::unique_lock lock(impl->mutex);
    impl->changed.wait(lock, [&done] { return done; });
  }
  if (!loaded) return fail(loaded.error());
  return std::unique_ptr<Controller>(new Controller(std::move(impl)));
}

Result<StoredDeployment> Controller::Impl::resolve(const DeploymentSpec& spec,
                                                   const std::vector<Device>& devices) const {
  if (auto valid = check_limits(spec); !valid) return fail(valid.error());
  auto model = resolve_model(spec.model, catalog.models());
  if (!model) return fail(model.error());
  auto engine = catalog.choose(spec, *model, devices);
  if (!engine) return fail(engine.error());
  if (auto fits = check_share(spec, **engine, devices); !fits) return fail(fits.error());
  if (std::ranges::find(spec.adapters, model->name) != spec.adapters.end()) {
    return fail(Reason::InvalidArgument,
                fmt::format("{}: adapter '{}' has the name of the model itself", spec.name, model->name),
                "give each adapter a name of its own");
  }
  StoredDeployment stored;
  stored.spec = spec;
  stored.spec.claim.name = spec.name;
  stored.engine = (*engine)->name;
  stored.model_format = model->format;
  stored.model_path = model->path;
  stored.model_name = model->name;
  return stored;
}

Result<std::vector<Applied>> Controller::apply(const std::vector<DeploymentSpec>& specs) {
  const std::lock_guard one_command(impl_->applying);
  const std::vector<Device> devices = impl_->ports.list_devices();
  std::vector<Applied> outcome;
  std::vector<StoredDeployment> writes;
  std::set<std::string> names, retries;
  for (const DeploymentSpec& spec : specs) {
    if (!names.insert(spec.name).second) {
      return fail(Reason::InvalidArgument, fmt::format("deployment '{}' is named twice", spec.name));
    }
    auto wanted = impl_->resolve(spec, devices);
    if (!wanted) return fail(wanted.error());
    const auto old = impl_->deployment(spec.name);
    const bool same = old && same_process(*old, *wanted);
    wanted->revision = same ? old->revision : 0;
    if (!same) {
      auto number = impl_->store.next_number();
      if (!number) return fail(number.error());
      wanted->revision = *number;
    }
    outcome.push_back(!old || old->removing ? Applied::Created
                      : *old == *wanted     ? Applied::Unchanged
                                            : Applied::Changed);
    if (outcome.back() != Applied::Unchanged)
      writes.push_back(std::move(*wanted));
    else
      retries.insert(spec.name);
  }
  {
    const std::lock_guard lock(impl_->mutex);
    for (const auto& [name, deployment] : impl_->deployments) names.insert(name);
  }
  if (names.size() > kMaxDeployments) {
    return fail(Reason::LimitExceeded,
                fmt::format("there would be {} deployments; the most is {}", names.size(), kMaxDeployments));
  }
  if (!writes.empty()) {
    if (auto stored = impl_->store.put_deployments(writes); !stored) return fail(stored.error());
  }
  for (StoredDeployment& each : writes) {
    impl_->event(each.spec.name, Reason::None, "Applied",
                 fmt::format("{} of {} with engine {}", counted(each.spec.replicas, "replica"),
                             each.model_name, each.engine));
    const std::lock_guard lock(impl_->mutex);
    impl_->deployments[each.spec.name] = std::move(each);
  }
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->retry_asked.merge(retries);
  }
  impl_->wake();
  return outcome;
}

Status Controller::scale(const std::string& name, uint32_t replicas) {
  const std::lock_guard one_command(impl_->applying);
  auto wanted = impl_->deployment(name);
  if (!wanted || wanted->removing) {
    std::vector<std::string> known;
    for (const DeploymentView& each : list()) known.push_back(each.spec.name);
    return unknown(name, known);
  }
  if (replicas > kMaxReplicas) {
    return fail(Reason::InvalidArgument, fmt::format("{} replicas; the most is {}", replicas, kMaxReplicas));
  }
  if (wanted->spec.replicas == replicas) return {};
  const uint32_t before = wanted->spec.replicas;
  wanted->spec.replicas = replicas;
  if (auto stored = impl_->store.put_deployments({*wanted}); !stored) return stored;
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->deployments[name] = *wanted;
  }
  impl_->event(name, Reason::None, "Scaled",
               fmt::format("from {} to {}", before, counted(replicas, "replica")));
  impl_->wake();
  return {};
}

Status Controller::remove(const std::string& name, std::optional<Nanos> drain) {
  const std::lock_guard one_command(impl_->applying);
  auto wanted = impl_->deployment(name);
  if (!wanted) {
    std::vector<std::string> known;
    for (const DeploymentView& each : list()) known.push_back(each.spec.name);
    return unknown(name, known);
  }
  wanted->removing = true;
  wanted->drain = drain.value_or(impl_->config.drain);
  if (auto stored = impl_->store_removal({*wanted}); !stored) return stored;
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->deployments[name] = *wanted;
  }
  impl_->event(name, Reason::Draining, "Removing",
               fmt::format("drains for {} at most", format_duration(wanted->drain)));
  impl_->wake();
  return {};
}

Status Controller::remove_all(std::optional<Nanos> drain) {
  const std::lock_guard one_command(impl_->applying);
  const Nanos limit = drain.value_or(impl_->config.drain);
  std::vector<StoredDeployment> writes;
  {
    const std::lock_guard lock(impl_->mutex);
    for (const auto& [name, each] : impl_->deployments) {
      if (!each.removing || each.drain != limit) writes.push_back(each);
    }
  }
  if (writes.empty()) return {};
  for (StoredDeployment& each : writes) {
    each.removing = true;
    each.drain = limit;
  }
  if (auto stored = impl_->store_removal(writes); !stored) return stored;
  for (StoredDeployment& each : writes) {
    impl_->event(each.spec.name, Reason::Draining, "Removing",
                 fmt::format("drains for {} at most", format_duration(limit)));
    const std::lock_guard lock(impl_->mutex);
    impl_->deployments[each.spec.name] = std::move(each);
  }
  impl_->wake();
  return {};
}

// What ends gives space back, so a full disk must not stop it: the spare room is for this.
Status Controller::Impl::store_removal(const std::vector<StoredDeployment>& writes) {
  Status stored = store.put_deployments(writes);
  if (stored || stored.error().reason != Reason::DiskFull || !spare.give_up()) return stored;
  stored = store.put_deployments(writes);
  if (stored)
    event("state", Reason::DiskFull, "SpareUsed",
          "the disk is full; the spare room of the state directory is used up");
  return stored;
}

std::vector<DeploymentView> Controller::list() const {
  std::vector<DeploymentView> result;
  {
    const std::lock_guard lock(impl_->mutex);
    result = impl_->deployment_views();
  }
  for (DeploymentView& view : result) impl_->tell_gone_devices(view.replicas);
  return result;
}

std::vector<DeploymentView> Controller::Impl::deployment_views() const {
  std::vector<DeploymentView> result;
  for (const auto& [name, deployment] : deployments) {
    DeploymentView view;
    view.spec = deployment.spec;
    view.spec.engine = deployment.engine;
    view.removing = deployment.removing;
    for (const auto& [id, replica] : views) {
      if (replica.deployment != name) continue;
      view.ready += replica.phase == ReplicaPhase::Ready ? 1 : 0;
      view.replicas.push_back(replica);
    }
    // "chat-10" comes after "chat-9".
    std::ranges::sort(view.replicas, [](const ReplicaView& a, const ReplicaView& b) {
      return a.id.size() != b.id.size() ? a.id.size() < b.id.size() : a.id < b.id;
    });
    result.push_back(std::move(view));
  }
  return result;
}

Result<DeploymentView> Controller::get(const std::string& name) const {
  std::vector<std::string> known;
  for (DeploymentView& view : list()) {
    if (view.spec.name == name) return std::move(view);
    known.push_back(view.spec.name);
  }
  return unknown(name, known);
}

Status Controller::wait_gone(const std::string& name, Nanos timeout) const {
  std::unique_lock lock(impl_->mutex);
  const auto gone = [&] {
    if (name.empty()) return impl_->deployments.empty() && impl_->views.empty();
    return !impl_->deployments.contains(name) &&
           std::ranges::none_of(impl_->views,
                                [&name](const auto& entry) { return entry.second.deployment == name; });
  };
  timeout = std::min(timeout, kForeverWait);
  if (impl_->changed.wait_for(lock, std::chrono::nanoseconds(timeout), gone)) return {};
  return fail(Reason::Timeout,
              fmt::format("{} is still there after {}", name.empty() ? "some deployment" : name,
                          format_duration(timeout)),
              "it goes on in the background; `tweendeck ps` shows it");
}

std::vector<Event> Controller::events(uint64_t since, size_t limit) const {
  return impl_->store.events(since, limit).value_or(std::vector<Event>{});
}

std::vector<Event> Controller::wait_events(uint64_t since, size_t limit, Nanos timeout) const {
  {
    std::unique_lock lock(impl_->mutex);
    impl_->changed.wait_for(lock, std::chrono::nanoseconds(std::min(timeout, kForeverWait)),
                            [&] { return impl_->last_event > since; });
  }
  return events(since, limit);
}

void Controller::record_event(const std::string& subject, Reason reason, const std::string& action,
                              const std::string& message) {
  impl_->event(subject, reason, action, message);
  impl_->wake();
}

Result<LogReader> Controller::open_log(const std::string& replica_id) const {
  std::vector<std::string> known;
  {
    const std::lock_guard lock(impl_->mutex);
    for (const auto& [id, view] : impl_->views) known.push_back(id);
  }
  if (std::ranges::find(known, replica_id) != known.end()) return LogReader(impl_->dir(replica_id).path());
  const std::string_view near = nearest(replica_id, {known.begin(), known.end()});
  return fail(Reason::NotFound,
              fmt::format("no replica is called '{}'", replica_id.substr(0, 2 * kMaxNameBytes)),
              near.empty() ? "`tweendeck ps` lists them" : fmt::format("did you mean '{}'?", near));
}

}  // namespace tweendeck::serving

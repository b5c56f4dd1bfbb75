// What `why` and `doctor` tell.
#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "serving/controller/impl.h"

namespace tweendeck::serving {
namespace {

// Worst first: a replica that cannot run at all says more than one that is on its way.
int badness(const ReplicaView& view) {
  if (refused_for_good(view.reason)) return 7;
  switch (view.phase) {
    case ReplicaPhase::Pending:
      return 6;
    case ReplicaPhase::Backoff:
      return 5;
    case ReplicaPhase::Unhealthy:
      return 4;
    case ReplicaPhase::Stopped:
      return 3;
    case ReplicaPhase::Draining:
      return 2;
    case ReplicaPhase::Starting:
      return 1;
    case ReplicaPhase::Ready:
      return 0;
  }
  return 0;
}

// It runs, but it has ended before: the reason of that is still worth telling.
bool restarted(const ReplicaView& view) {
  const bool runs = view.phase == ReplicaPhase::Ready || view.phase == ReplicaPhase::Starting;
  return runs && view.restarts > 0 && view.last_exit.valid;
}

std::string sentence_of(const ReplicaView& view) {
  std::string text = fmt::format("{} is {}", view.id, to_string(view.phase));
  if (!view.message.empty()) text += ": " + view.message;
  if (restarted(view)) {
    text += fmt::format("; restarted {}, last because it {} [{}]", counted(view.restarts, "time"),
                        view.last_exit.message, to_string(view.last_exit.reason));
  }
  return text;
}

void add_hint(std::vector<std::string>& hints, const std::string& hint) {
  if (!hint.empty() && std::ranges::find(hints, hint) == hints.end()) hints.push_back(hint);
}

void summarize(const DeploymentView& deployment, WhyReport& report) {
  std::vector<const ReplicaView*> order;
  for (const ReplicaView& each : deployment.replicas) order.push_back(&each);
  std::ranges::sort(order, [](const ReplicaView* a, const ReplicaView* b) {
    return badness(*a) != badness(*b) ? badness(*a) > badness(*b) : a->id < b->id;
  });
  report.sentence = deployment.removing
                        ? fmt::format("{} is being removed", deployment.spec.name)
                        : fmt::format("{} serves with {} of {}", deployment.spec.name, deployment.ready,
                                      counted(deployment.spec.replicas, "replica"));
  if (deployment.spec.replicas == 0 && !deployment.removing) {
    report.reason = Reason::NoEndpoint;
    add_hint(report.hints, fmt::format("tweendeck scale {} 1", deployment.spec.name));
  }
  for (const ReplicaView* each : order) {
    if (each->phase == ReplicaPhase::Ready && !restarted(*each) && each->reason == Reason::None) continue;
    report.sentence += "; " + sentence_of(*each);
    if (report.reason == Reason::None) report.reason = each->reason;
    add_hint(report.hints, restarted(*each) ? each->last_exit.hint : each->hint);
    if (each->reason == Reason::DeviceGone) add_hint(report.hints, each->hint);
  }
}

}  // namespace

// A view says what the controller knows; that the slice's device has gone away only the device room knows.
void Controller::Impl::tell_gone_devices(std::vector<ReplicaView>& shown) const {
  if (std::ranges::all_of(shown, [](const ReplicaView& view) { return view.slice.id.empty(); })) return;
  const std::vector<Device> devices = ports.list_devices();
  for (ReplicaView& view : shown) {
    const auto is_its = [&view](const Device& device) { return device.id == view.slice.device_id; };
    if (view.slice.id.empty() || std::ranges::any_of(devices, is_its)) continue;
    if (view.reason != Reason::None && view.reason != Reason::Starting) continue;
    view.reason = Reason::DeviceGone;
    view.message = fmt::format("the device {} of its slice is gone", view.slice.device_id);
    view.hint = "bring the device back, or stop the deployment and serve it again to place it anew";
  }
}

Result<WhyReport> Controller::why(const std::string& name) const {
  WhyReport report;
  report.subject = name;
  std::vector<ReplicaView> shown;
  const auto deployment = get(name);
  if (deployment) {
    summarize(*deployment, report);
    shown = deployment->replicas;
  } else {
    {
      const std::lock_guard lock(impl_->mutex);
      const auto view = impl_->views.find(name);
      if (view == impl_->views.end()) return fail(deployment.error());
      shown.push_back(view->second);
    }
    impl_->tell_gone_devices(shown);
    const ReplicaView& view = shown.front();
    report.sentence = sentence_of(view);
    report.reason = view.reason;
    add_hint(report.hints, view.hint);
    if (restarted(view)) add_hint(report.hints, view.last_exit.hint);
  }
  std::vector<std::string> subjects{name};
  for (ReplicaView& view : shown) {
    ReplicaReport each;
    if (!view.slice.id.empty()) {
      if (auto use = impl_->ports.slice_usage(view.slice.id)) each.use = *use;
    }
    {
      const std::lock_guard lock(impl_->mutex);
      if (const auto lines = impl_->tails.find(view.id); lines != impl_->tails.end())
        each.last_log_lines = lines->second;
    }
    if (view.id != name) subjects.push_back(view.id);
    each.view = std::move(view);
    report.replicas.push_back(std::move(each));
  }
  for (const std::string& subject : subjects) {
    if (auto events = impl_->store.events_of(subject, kWhyEvents)) {
      report.events.insert(report.events.end(), events->begin(), events->end());
    }
  }
  std::ranges::sort(report.events, {}, &Event::id);
  if (report.events.size() > kWhyEvents)
    report.events.erase(report.events.begin(), report.events.end() - kWhyEvents);
  return report;
}

std::vector<Finding> Controller::doctor() const {
  std::vector<Finding> findings;
  const auto add = [&findings](std::string subject, const Error& error) {
    findings.push_back({std::move(subject), error.reason, error.message, error.hint});
  };
  for (const Error& broken : impl_->catalog.broken()) add("engine", broken);
  const std::vector<DeploymentView> served = list();
  for (const EngineSpec& engine : impl_->catalog.engines()) {
    const auto there = impl_->catalog.installed(engine);
    if (there) continue;
    add("engine " + engine.name, there.error());
    // An engine that nobody asked for is an offer, not a fault.
    findings.back().harmless = std::ranges::none_of(
        served, [&engine](const DeploymentView& each) { return each.spec.engine == engine.name; });
  }
  if (!impl_->sandbox_problem.empty()) {
    findings.push_back({"sandbox", Reason::SandboxUnavailable,
                        "replicas run without a sandbox: " + impl_->sandbox_problem,
                        "run the daemon as root with the right to mount"});
  }
  {
    const std::lock_guard lock(impl_->mutex);
    if (impl_->store_problem) add("state", *impl_->store_problem);
    if (impl_->lost_events > 0) {
      findings.push_back({"events", Reason::DiskFull,
                          fmt::format("{} could not be stored", counted(impl_->lost_events, "event")), ""});
    }
  }
  for (const DeploymentView& deployment : served) {
    for (const ReplicaView& replica : deployment.replicas) {
      const bool on_its_way = replica.phase == ReplicaPhase::Ready || replica.phase == ReplicaPhase::Starting;
      if (on_its_way && replica.reason != Reason::DeviceGone) continue;
      findings.push_back({replica.id, replica.reason, sentence_of(replica), replica.hint});
    }
  }
  return findings;
}

}  // namespace tweendeck::serving

// What `why` and `doctor` tell.
#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "serving/controller/impl.h"

namespace tweendeck::serving {
namespace {

// Worst first: a replica that cannot run at all says more than one that is on its way.
int badness(ReplicaPhase phase) {
  switch (phase) {
    case ReplicaPhase::Pending: return 6;
    case ReplicaPhase::Backoff: return 5;
    case ReplicaPhase::Unhealthy: return 4;
    case ReplicaPhase::Stopped: return 3;
    case ReplicaPhase::Draining: return 2;
    case ReplicaPhase::Starting: return 1;
    case ReplicaPhase::Ready: return 0;
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
    text += fmt::format("; restarted {} times, last because it {} [{}]", view.restarts, view.last_exit.message,
                        to_string(view.last_exit.reason));
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
    return badness(a->phase) != badness(b->phase) ? badness(a->phase) > badness(b->phase) : a->id < b->id;
  });
  report.sentence = deployment.removing ? fmt::format("{} is being removed", deployment.spec.name)
                                        : fmt::format("{} serves with {} of {} replicas", deployment.spec.name,
                                                      deployment.ready, deployment.spec.replicas);
  if (deployment.spec.replicas == 0 && !deployment.removing) {
    report.reason = Reason::NoEndpoint;
    add_hint(report.hints, fmt::format("tweendeck scale {} 1", deployment.spec.name));
  }
  for (const ReplicaView* each : order) {
    if (each->phase == ReplicaPhase::Ready && !restarted(*each)) continue;
    report.sentence += "; " + sentence_of(*each);
    if (report.reason == Reason::None) report.reason = each->reason;
    add_hint(report.hints, restarted(*each) ? each->last_exit.hint : each->hint);
  }
}

}  // namespace

Result<WhyReport> Controller::why(const std::string& name) const {
  WhyReport report;
  report.subject = name;
  std::vector<ReplicaView> shown;
  const auto deployment = get(name);
  if (deployment) {
    summarize(*deployment, report);
    shown = deployment->replicas;
  } else {
    const std::lock_guard lock(impl_->mutex);
    const auto view = impl_->views.find(name);
    if (view == impl_->views.end()) return fail(deployment.error());
    report.sentence = sentence_of(view->second);
    report.reason = view->second.reason;
    add_hint(report.hints, view->second.hint);
    if (restarted(view->second)) add_hint(report.hints, view->second.last_exit.hint);
    shown.push_back(view->second);
  }
  std::vector<std::string> subjects{name};
  for (ReplicaView& view : shown) {
    ReplicaReport each;
    if (!view.slice.id.empty()) {
      if (auto use = impl_->ports.slice_usage(view.slice.id)) each.use = *use;
    }
    {
      const std::lock_guard lock(impl_->mutex);
      if (const auto lines = impl_->tails.find(view.id); lines != impl_->tails.end()) each.last_log_lines = lines->second;
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
  if (report.events.size() > kWhyEvents) report.events.erase(report.events.begin(), report.events.end() - kWhyEvents);
  return report;
}

std::vector<Finding> Controller::doctor() const {
  std::vector<Finding> findings;
  const auto add = [&findings](std::string subject, const Error& error) {
    findings.push_back({std::move(subject), error.reason, error.message, error.hint});
  };
  for (const Error& broken : impl_->catalog.broken()) add("engine", broken);
  for (const EngineSpec& engine : impl_->catalog.engines()) {
    if (auto there = impl_->catalog.installed(engine); !there) add("engine " + engine.name, there.error());
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
      findings.push_back({"events", Reason::DiskFull, fmt::format("{} events could not be stored", impl_->lost_events), ""});
    }
  }
  for (const DeploymentView& deployment : list()) {
    for (const ReplicaView& replica : deployment.replicas) {
      if (replica.phase == ReplicaPhase::Ready || replica.phase == ReplicaPhase::Starting) continue;
      findings.push_back({replica.id, replica.reason, sentence_of(replica), replica.hint});
    }
  }
  return findings;
}

}  // namespace tweendeck::serving

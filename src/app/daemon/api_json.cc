#include "app/daemon/api_json.h"

#include <algorithm>

#include "base/text.h"
#include "serving/spec/deployment_spec.h"

namespace tweendeck::daemon {
namespace {

void write_reason(net::JsonWriter& w, std::string_view key, Reason reason) {
  if (reason == Reason::None)
    w.name(key).null();
  else
    w.field(key, to_string(reason));
}

void write_use(net::JsonWriter& w, const serving::SliceUse& use) {
  w.object("use").field("memory_bytes", use.memory_bytes).field("memory_peak_bytes", use.memory_peak_bytes);
  w.field("compute_ns", use.compute_ns).field("throttled_ns", use.throttled_ns);
  w.field("memory_refusals", use.memory_refusals).field("oom_kills", use.oom_kills).end();
}

// What compute is capped by. Nothing here caps a library slice in space: see docs/internals/vgpu-compute.md.
std::string_view compute_cap_of(Isolation isolation) {
  switch (isolation) {
    case Isolation::Hardware:
    case Isolation::Driver:
      return "space";
    case Isolation::Kernel:
    case Isolation::Library:
      return "time";
    case Isolation::None:
      break;
  }
  return "none";
}

void write_share_of(net::JsonWriter& w, const Slice& slice) {
  const Share& share = slice.share;
  w.field("id", slice.id).field("device", slice.device_id).field("owner", slice.owner);
  w.field("deployment", slice.deployment).field("memory_bytes", share.memory_bytes);
  w.field("compute_percent", share.compute_percent).field("priority", int64_t{share.priority});
  w.field("ceiling_percent", std::max(share.ceiling_percent, share.compute_percent));
  w.field("weight", share.weight == 0 ? share.compute_percent : share.weight);
  w.field("memory_wait_ms", share.memory_wait_ms).field("paused", slice.paused);
  w.field("compute_cap", compute_cap_of(slice.isolation));
  w.field("isolation", to_string(slice.isolation));
  write_reason(w, "isolation_reason", slice.isolation_reason);
}

const serving::SliceUse* use_of(const UseBySlice& use, const std::string& slice_id) {
  auto found = use.find(slice_id);
  return found == use.end() ? nullptr : &found->second;
}

}  // namespace

void write_slice(net::JsonWriter& w, const Slice& slice, const serving::SliceUse* use) {
  w.object();
  write_share_of(w, slice);
  if (use != nullptr) write_use(w, *use);
  w.end();
}

void write_slice_details(net::JsonWriter& w, const Slice& slice, const device::SliceUsage* usage) {
  w.object();
  write_share_of(w, slice);
  if (usage == nullptr) {
    w.end();
    return;
  }
  w.object("use")
      .field("memory_bytes", usage->memory_bytes)
      .field("memory_peak_bytes", usage->memory_peak_bytes);
  w.field("compute_ns", usage->compute_ns).field("throttled_ns", usage->throttled_ns);
  w.field("paused_ns", usage->paused_ns).field("borrowed_ns", usage->borrowed_ns);
  w.field("launches", usage->launches).field("processes", usage->processes);
  w.field("share_in_force_percent", usage->effective_permille / 10.0);
  w.field("memory_refusals", usage->memory_refusals).field("oom_kills", usage->oom_kills).array("kinds");
  for (const device::KindUsage& kind : usage->kinds) {
    w.object().field("kind", kind.kind).field("used_bytes", kind.used_bytes);
    w.field("peak_bytes", kind.peak_bytes).field("allocations", kind.allocations).end();
  }
  w.end().end().end();
}

void write_device(net::JsonWriter& w, const Device& device, const std::vector<Slice>& slices,
                  const UseBySlice& use) {
  uint64_t held_bytes = 0;
  uint32_t held_percent = 0;
  for (const Slice& slice : slices) {
    if (slice.device_id != device.id) continue;
    held_bytes += slice.share.memory_bytes;
    held_percent += slice.share.compute_percent;
  }
  w.object().field("id", device.id).field("provider", device.provider).field("vendor", device.vendor);
  w.field("model", device.model).field("uuid", device.uuid).field("pci_bus_id", device.pci_bus_id);
  w.field("numa_node", device.numa_node).field("memory_bytes", device.memory_bytes);
  w.field("free_memory_bytes", device.memory_bytes - std::min(held_bytes, device.memory_bytes));
  w.field("free_compute_percent", 100u - std::min(held_percent, 100u));
  w.field("compute_units", device.compute_units).field("mig_enabled", device.mig_enabled);
  w.field("isolation", to_string(device.isolation));
  write_reason(w, "isolation_reason", device.isolation_reason);
  w.field("healthy", device.healthy);
  write_reason(w, "health_reason", device.health_reason);
  w.field("simulated", device.simulated).array("links");
  for (const DeviceLink& link : device.links)
    w.object().field("peer", link.peer_id).field("kind", link.kind).end();
  w.end().array("slices");
  for (const Slice& slice : slices) {
    if (slice.device_id == device.id) write_slice(w, slice, use_of(use, slice.id));
  }
  w.end().end();
}

void write_replica(net::JsonWriter& w, const serving::ReplicaView& replica, const serving::SliceUse* use) {
  w.object().field("id", replica.id).field("deployment", replica.deployment);
  w.field("phase", to_string(replica.phase));
  write_reason(w, "reason", replica.reason);
  w.field("message", replica.message).field("hint", replica.hint).name("slice");
  if (replica.slice.id.empty())
    w.null();
  else
    write_slice(w, replica.slice, use);
  w.field("pid", int64_t{replica.pid})
      .field("port", uint32_t{replica.port})
      .field("restarts", replica.restarts)
      .name("started");
  if (replica.started_wall_ns == 0)
    w.null();
  else
    w.value(format_time(replica.started_wall_ns));
  w.field("max_in_flight", replica.max_in_flight).field("context_tokens", replica.context_tokens);
  w.field("simulated", replica.simulated).field("engine", replica.engine).name("last_exit");
  const serving::ExitRecord& exit = replica.last_exit;
  if (exit.valid) {
    w.object().field("exit_code", exit.exit_code).field("signal", exit.signal);
    write_reason(w, "reason", exit.reason);
    w.field("message", exit.message).field("hint", exit.hint).field("time", format_time(exit.wall_ns)).end();
  } else {
    w.null();
  }
  w.field("phase_since", format_time(replica.phase_since_wall_ns)).name("tried");
  if (replica.tried_wall_ns == 0) {
    w.null();
  } else {
    w.value(format_time(replica.tried_wall_ns));
  }
  w.end();
}

void write_deployment(net::JsonWriter& w, const serving::DeploymentView& deployment, const UseBySlice& use) {
  w.object().field("name", deployment.spec.name).field("model", deployment.spec.model);
  w.name("spec").raw(serving::to_json(deployment.spec)).field("ready", deployment.ready).array("replicas");
  for (const serving::ReplicaView& replica : deployment.replicas) {
    write_replica(w, replica, use_of(use, replica.slice.id));
  }
  w.end().end();
}

void write_event(net::JsonWriter& w, const serving::Event& event) {
  w.object().field("id", event.id).field("time", format_time(event.wall_ns)).field("subject", event.subject);
  w.field("action", event.action);
  write_reason(w, "reason", event.reason);
  w.field("message", event.message).end();
}

void write_why(net::JsonWriter& w, const serving::WhyReport& report) {
  w.object().field("subject", report.subject).field("sentence", report.sentence);
  write_reason(w, "reason", report.reason);
  w.array("hints");
  for (const std::string& hint : report.hints) w.value(hint);
  w.end().array("replicas");
  for (const serving::ReplicaReport& replica : report.replicas) {
    w.object().name("replica");
    write_replica(w, replica.view, replica.use ? &*replica.use : nullptr);
    w.array("last_log_lines");
    for (const std::string& line : replica.last_log_lines) w.value(line);
    w.end().end();
  }
  w.end().array("events");
  for (const serving::Event& event : report.events) write_event(w, event);
  w.end().end();
}

void write_endpoint(net::JsonWriter& w, const routing::Router::EndpointView& view) {
  const Endpoint& endpoint = view.endpoint;
  w.object().field("id", endpoint.id).field("deployment", endpoint.deployment).array("models");
  for (const std::string& model : endpoint.models) w.value(model);
  w.end().field("address", endpoint.address).field("port", uint32_t{endpoint.port});
  w.field("state", to_string(endpoint.state))
      .field("engine", endpoint.engine)
      .field("simulated", endpoint.simulated);
  w.field("max_in_flight", endpoint.max_in_flight).field("in_flight", view.in_flight);
  w.field("uncached_tokens", view.uncached_tokens).field("dispatched_total", view.dispatched_total);
  w.field("index_entries", view.index_entries).object("reported");
  w.field("running", view.reported.running).field("waiting", view.reported.waiting);
  w.field("kv_cache_usage", view.reported.kv_cache_usage).end().end();
}

std::string findings_json(const std::vector<Finding>& findings) {
  net::JsonWriter w;
  bool healthy =
      std::none_of(findings.begin(), findings.end(), [](const Finding& f) { return f.severity != "info"; });
  w.object().field("healthy", healthy).array("findings");
  for (const Finding& finding : findings) {
    w.object().field("severity", finding.severity).field("subject", finding.subject);
    write_reason(w, "reason", finding.reason);
    w.field("message", finding.message).field("hint", finding.hint).end();
  }
  w.end().end();
  return w.take();
}

}  // namespace tweendeck::daemon

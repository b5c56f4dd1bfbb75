#include "app/daemon/state_metrics.h"

#include <algorithm>

namespace tweendeck::daemon {
namespace {

constexpr serving::ReplicaPhase kPhases[] = {
    serving::ReplicaPhase::Pending,   serving::ReplicaPhase::Starting, serving::ReplicaPhase::Ready,
    serving::ReplicaPhase::Unhealthy, serving::ReplicaPhase::Draining, serving::ReplicaPhase::Backoff};

double seconds(uint64_t ns) {
  return static_cast<double>(ns) / static_cast<double>(kSecond);
}

}  // namespace

void StateMetrics::forget_all_but(std::string_view label, std::set<std::string>& known,
                                  std::set<std::string> now) {
  for (const std::string& value : known) {
    if (!now.contains(value)) registry_.remove(label, value);
  }
  known = std::move(now);
}

void StateMetrics::update_slice(const Slice& slice, const serving::SliceUse* use) {
  Labels labels = {{"slice", slice.id}, {"device", slice.device_id}, {"replica", slice.owner}};
  auto set = [&](std::string_view name, std::string_view help, double value) {
    registry_.gauge(name, help, labels).set(value);
  };
  set("tweendeck_slice_memory_limit_bytes", "Device memory that the slice may use.",
      static_cast<double>(slice.share.memory_bytes));
  set("tweendeck_slice_compute_limit_ratio", "Share of the device's compute that the slice may use.",
      slice.share.compute_percent / 100.0);
  if (use == nullptr) return;
  set("tweendeck_slice_memory_used_bytes", "Device memory that the slice uses now.",
      static_cast<double>(use->memory_bytes));
  auto count = [&](std::string_view name, std::string_view help, double total) {
    registry_.sampled_counter(name, help, labels).raise_to(total);
  };
  count("tweendeck_slice_compute_seconds_total", "Device time that the slice has used since it was made.",
        seconds(use->compute_ns));
  count("tweendeck_slice_throttled_seconds_total", "Time that the slice has waited for its share.",
        seconds(use->throttled_ns));
  count("tweendeck_slice_memory_refusals_total", "Allocations refused at the slice's memory limit.",
        static_cast<double>(use->memory_refusals));
  count("tweendeck_slice_oom_kills_total", "Processes stopped by the slice's own memory limit.",
        static_cast<double>(use->oom_kills));
}

void StateMetrics::update_deployment(const serving::DeploymentView& deployment) {
  const std::string& name = deployment.spec.name;
  registry_
      .gauge("tweendeck_deployment_replicas_wanted", "Replicas that the deployment should have.",
             {{"deployment", name}})
      .set(deployment.spec.replicas);
  for (serving::ReplicaPhase phase : kPhases) {
    auto count = std::count_if(deployment.replicas.begin(), deployment.replicas.end(),
                               [&](const serving::ReplicaView& replica) { return replica.phase == phase; });
    registry_
        .gauge("tweendeck_replicas", "Replicas by phase.",
               {{"deployment", name}, {"phase", std::string(to_string(phase))}})
        .set(static_cast<double>(count));
  }
}

void StateMetrics::update(const std::vector<Device>& devices, const std::vector<Slice>& slices,
                          const UseBySlice& use, const std::vector<serving::DeploymentView>& deployments) {
  std::set<std::string> device_ids, slice_ids, deployment_names;
  for (const Device& device : devices) {
    device_ids.insert(device.id);
    registry_
        .gauge("tweendeck_device_memory_bytes", "Memory that slices of the device may use together.",
               {{"device", device.id}, {"provider", device.provider}})
        .set(static_cast<double>(device.memory_bytes));
    registry_
        .gauge("tweendeck_device_healthy", "1 when the device reports no fault.",
               {{"device", device.id}, {"provider", device.provider}})
        .set(device.healthy ? 1 : 0);
  }
  for (const Slice& slice : slices) {
    slice_ids.insert(slice.id);
    auto found = use.find(slice.id);
    update_slice(slice, found == use.end() ? nullptr : &found->second);
  }
  for (const serving::DeploymentView& deployment : deployments) {
    deployment_names.insert(deployment.spec.name);
    update_deployment(deployment);
  }
  forget_all_but("device", devices_, std::move(device_ids));
  forget_all_but("slice", slices_, std::move(slice_ids));
  forget_all_but("deployment", deployments_, std::move(deployment_names));
}

}  // namespace tweendeck::daemon

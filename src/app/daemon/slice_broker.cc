#include "app/daemon/slice_broker.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/units.h"

namespace tweendeck::daemon {
namespace {

const Device* device_of(const std::vector<Device>& devices, const std::string& id) {
  auto found = std::find_if(devices.begin(), devices.end(), [&](const Device& d) { return d.id == id; });
  return found == devices.end() ? nullptr : &*found;
}

// Slices that were made before the device went away or shrank are not made again on what is not there.
Status still_holds(const placement::Snapshot& now, const Slice& slice, const Device* device) {
  if (device == nullptr) {
    return fail(
        Reason::DeviceGone, "the device " + slice.device_id + " of slice " + slice.id + " is gone",
        "`tweendeck devices` lists what is there; stop the deployment and serve it again to place it anew");
  }
  uint64_t memory_bytes = 0, compute_percent = 0;
  for (const Slice& each : now.slices) {
    if (each.device_id != slice.device_id) continue;
    memory_bytes += each.share.memory_bytes;
    compute_percent += each.share.compute_percent;
  }
  if (memory_bytes <= device->memory_bytes && compute_percent <= 100) return {};
  return fail(Reason::DeviceGone,
              fmt::format("{} has {} now, its slices hold {} and {} %", device->id,
                          format_bytes(device->memory_bytes), format_bytes(memory_bytes), compute_percent),
              "stop a deployment there");
}

serving::SliceGrant grant_of(Slice slice, const device::Preparation& preparation, const Device& device) {
  slice.isolation = preparation.isolation;
  slice.isolation_reason = preparation.isolation_reason;
  return {.slice = std::move(slice),
          .provider = device.provider,
          .simulated = device.simulated,
          .env = preparation.env,
          .mounts = preparation.mounts,
          .cgroup_procs = preparation.cgroup_procs,
          .cpu_count = preparation.cpu_count};
}

}  // namespace

placement::Snapshot SliceBroker::snapshot() {
  placement::Snapshot snapshot{.devices = manager_.discover(), .slices = {}};
  for (const device::SliceEntry& entry : manager_.slices()) snapshot.slices.push_back(entry.slice);
  return snapshot;
}

Result<serving::SliceGrant> SliceBroker::acquire(const serving::DeploymentSpec& spec,
                                                 const std::string& owner, const std::string& slice_id) {
  std::scoped_lock lock(mutex_);
  placement::Snapshot now = snapshot();
  Slice slice;
  auto held =
      std::find_if(now.slices.begin(), now.slices.end(), [&](const Slice& s) { return s.id == slice_id; });
  if (held != now.slices.end()) {
    slice = *held;
  } else {
    Claim claim = spec.claim;
    claim.name = spec.name;
    claim.count = 1;
    placement::Decision decision = placement::place(now, claim);
    if (!decision.placed()) {
      const placement::Refusal& refusal = *decision.refusal;
      Reason reason = refusal.reasons.empty() ? Reason::NoDevices : refusal.reasons.front().reason;
      return fail(reason, placement::explain(refusal, claim));
    }
    slice = {.id = slice_id,
             .device_id = decision.device_ids.front(),
             .share = claim.share,
             .owner = owner,
             .deployment = spec.name};
  }
  const Device* device = device_of(now.devices, slice.device_id);
  if (Status holds = still_holds(now, slice, device); !holds) return fail(holds.error());
  Result<device::Preparation> preparation = manager_.prepare(slice);
  if (!preparation) return fail(preparation.error());
  return grant_of(std::move(slice), *preparation, *device);
}

Status SliceBroker::release(const std::string& slice_id) {
  return manager_.release(slice_id);
}

std::vector<Device> SliceBroker::devices() {
  return manager_.discover();
}

std::vector<Slice> SliceBroker::slices() {
  std::vector<Slice> slices;
  for (device::SliceEntry& entry : manager_.slices()) slices.push_back(std::move(entry.slice));
  return slices;
}

Result<serving::SliceUse> SliceBroker::usage(const std::string& slice_id) {
  Result<device::SliceUsage> usage = manager_.usage(slice_id);
  if (!usage) return fail(usage.error());
  return serving::SliceUse{.memory_bytes = usage->memory_bytes,
                           .memory_peak_bytes = usage->memory_peak_bytes,
                           .compute_ns = usage->compute_ns,
                           .throttled_ns = usage->throttled_ns,
                           .memory_refusals = usage->memory_refusals,
                           .oom_kills = usage->oom_kills};
}

}  // namespace tweendeck::daemon

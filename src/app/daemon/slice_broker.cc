#include "app/daemon/slice_broker.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/units.h"
#include "serving/spec/deployment_spec.h"

namespace tweendeck::daemon {
namespace {

constexpr uint32_t kMaxWeight = 1000;
constexpr uint32_t kMaxMemoryWaitMs = 60'000;

const Device* device_of(const std::vector<Device>& devices, const std::string& id) {
  auto found = std::find_if(devices.begin(), devices.end(), [&](const Device& d) { return d.id == id; });
  return found == devices.end() ? nullptr : &*found;
}

// For a claim that names devices of which there is none.
std::string hint_of(const std::vector<Device>& devices, const Claim& claim) {
  const auto is_named = [&](const Device& device) {
    return std::ranges::any_of(claim.device_ids, [&](const std::string& name) {
      return name == device.id || name == device.provider;
    });
  };
  if (claim.device_ids.empty() || std::ranges::any_of(devices, is_named)) return "";
  return fmt::format(
      "no device of this machine is {}; `tweendeck devices` lists them, `tweendeck up --soft-gpus` adds "
      "software "
      "GPUs",
      fmt::join(claim.device_ids, " or "));
}

// Limits of a share that did not come with a deployment, whose own are checked with its spec.
Status check_share(const Slice& slice) {
  const Share& share = slice.share;
  const auto refuse = [&](std::string what, std::string hint) {
    return fail(Reason::InvalidArgument, fmt::format("slice {}: {}", slice.id, what), std::move(hint));
  };
  if (share.memory_bytes < serving::kMinSliceMemoryBytes) {
    return refuse(fmt::format("memory is {}, the least is {}", format_bytes(share.memory_bytes),
                              format_bytes(serving::kMinSliceMemoryBytes)),
                  "give it some memory, for example 1Gi");
  }
  if (share.compute_percent < 1 || share.compute_percent > 100)
    return refuse(fmt::format("compute is {} percent of a device", share.compute_percent), "use 1 to 100");
  if (share.ceiling_percent > 100 ||
      (share.ceiling_percent != 0 && share.ceiling_percent < share.compute_percent)) {
    return refuse(fmt::format("the ceiling is {} percent, its own share {}", share.ceiling_percent,
                              share.compute_percent),
                  "use its own share up to 100, or 0 to borrow nothing");
  }
  if (share.weight > kMaxWeight)
    return refuse(fmt::format("the weight is {}", share.weight), fmt::format("use 0 to {}", kMaxWeight));
  if (share.memory_wait_ms > kMaxMemoryWaitMs) {
    return refuse(
        fmt::format("allocations would wait {}", format_duration(share.memory_wait_ms * kMillisecond)),
        fmt::format("use at most {}", format_duration(kMaxMemoryWaitMs * kMillisecond)));
  }
  return {};
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

SliceBroker::Machine SliceBroker::observe() {
  Machine machine{.devices = manager_.discover(), .slices = slices()};
  placement_.observe(machine.devices, machine.slices);
  return machine;
}

Result<serving::SliceGrant> SliceBroker::acquire(const serving::DeploymentSpec& spec,
                                                 const std::string& owner, const std::string& slice_id) {
  std::scoped_lock lock(mutex_);
  const Machine now = observe();
  if (const auto held = std::ranges::find(now.slices, slice_id, &Slice::id); held != now.slices.end()) {
    if (Status holds = placement_.holds(slice_id); !holds) return fail(holds.error());
    return prepare(now, *held);
  }
  Claim claim = spec.claim;
  claim.name = spec.name;
  Slice slice{.id = slice_id, .device_id = "", .share = claim.share, .owner = owner, .deployment = spec.name};
  return prepare_new(now, claim, std::move(slice));
}

// What was reserved for it is bound once it is prepared, else free again.
Result<serving::SliceGrant> SliceBroker::prepare_new(const Machine& now, const Claim& one, Slice slice) {
  Claim claim = one;
  claim.count = 1;
  placement::Decision decision = placement_.place(claim, {slice.id});
  if (decision.refusal) {
    const placement::Refusal& refusal = *decision.refusal;
    return fail(refusal.reasons.front().reason, placement::explain(refusal, claim),
                hint_of(now.devices, claim));
  }
  const std::string id = slice.id;
  slice.device_id = std::move(decision.device_ids.front());
  Result<serving::SliceGrant> grant = prepare(now, std::move(slice));
  if (grant) {
    placement_.confirm(id);
  } else {
    placement_.give_back(id);
  }
  return grant;
}

Result<serving::SliceGrant> SliceBroker::prepare(const Machine& now, Slice slice) {
  const Device* device = device_of(now.devices, slice.device_id);
  Result<device::Preparation> preparation = manager_.prepare(slice);
  if (!preparation) return fail(preparation.error());
  return grant_of(std::move(slice), *preparation, *device);
}

Result<serving::SliceGrant> SliceBroker::acquire_own(const Claim& claim, const std::string& slice_id) {
  std::scoped_lock lock(mutex_);
  const Machine now = observe();
  if (std::ranges::find(now.slices, slice_id, &Slice::id) != now.slices.end())
    return fail(Reason::AlreadyExists, fmt::format("slice {} exists already", slice_id), "use another name");
  Slice slice{.id = slice_id, .device_id = "", .share = claim.share, .owner = slice_id, .deployment = ""};
  if (Status valid = check_share(slice); !valid) return fail(valid.error());
  return prepare_new(now, claim, std::move(slice));
}

Result<std::vector<Slice>> SliceBroker::resize(const std::string& name, const SliceChange& change,
                                               std::vector<device::SliceEvent>& events) {
  std::scoped_lock lock(mutex_);
  const Machine now = observe();
  std::vector<Slice> before, after;
  for (const Slice& slice : now.slices) {
    if (slice.id == name || slice.owner == name || slice.deployment == name) before.push_back(slice);
  }
  if (before.empty()) {
    return fail(Reason::NotFound,
                fmt::format("there is no slice, replica or deployment '{}' that holds a slice", name),
                "`tweendeck slices` lists what there is");
  }
  for (const Slice& slice : before) {
    Slice changed = slice;
    change(changed);
    if (Status valid = check_share(changed); !valid) return fail(valid.error());
    // Where one of them does not fit, or cannot be carried out, the next observation takes this back.
    if (Status fits = placement_.resize(slice.id, changed.share); !fits) return fail(fits.error());
    after.push_back(std::move(changed));
  }
  for (size_t i = 0; i < after.size(); ++i) {
    Result<Slice> done = manager_.resize(after[i].id, after[i].share, after[i].paused, &events);
    if (done) {
      after[i] = std::move(*done);
      continue;
    }
    Error error = done.error();
    for (size_t back = 0; back < i; ++back) {
      Result<Slice> restored =
          manager_.resize(before[back].id, before[back].share, before[back].paused, &events);
      if (!restored) error.message += "; " + restored.error().message;
    }
    return fail(std::move(error));
  }
  return after;
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

Result<device::SliceUsage> SliceBroker::details(const std::string& slice_id) {
  return manager_.usage(slice_id);
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

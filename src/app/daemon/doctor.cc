// What doctor looks at: the findings of every room, told in one list.
#include <fmt/format.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <map>

#include "app/daemon/daemon.h"
#include "base/units.h"
#include "serving/spec/c_library.h"

namespace tweendeck::daemon {
namespace {

// What the logs of one replica may take (serving::kDefaultLogBytes, twice) and as much again for state.
constexpr uint64_t kLeastFreeBytes = 4 * serving::kDefaultLogBytes;

Finding warning(std::string subject, const Error& error) {
  return {"warning", std::move(subject), error.reason, error.message, error.hint};
}

void look_at_disk(const std::string& dir, std::vector<Finding>& findings) {
  struct statvfs disk{};
  if (statvfs(dir.c_str(), &disk) != 0) return;
  uint64_t free_bytes = uint64_t{disk.f_bavail} * disk.f_frsize;
  if (free_bytes >= kLeastFreeBytes) return;
  findings.push_back({"warning", "state", Reason::DiskFull,
                      fmt::format("{} has {} left; below {} changes may be refused and logs dropped", dir,
                                  format_bytes(free_bytes), format_bytes(kLeastFreeBytes)),
                      "free some space"});
}

void look_at_device(const Device& device, std::vector<Finding>& findings) {
  if (!device.healthy) {
    findings.push_back({"error", device.id, device.health_reason,
                        fmt::format("{} reports a fault", device.model),
                        "slices on it cannot be trusted; see the driver's log"});
  }
  if (device.isolation_reason != Reason::None) {
    findings.push_back({"warning", device.id, device.isolation_reason,
                        fmt::format("slices are isolated at level {} only", to_string(device.isolation)),
                        std::string(describe(device.isolation_reason))});
  }
  if (device.simulated) {
    findings.push_back(
        {"info", device.id, Reason::SimulatedDevice, fmt::format("{} is software", device.model), ""});
  }
}

// Slices whose device is not there, or no longer has what they hold.
void look_at_slices(const std::vector<Device>& devices, const std::vector<Slice>& slices,
                    std::vector<Finding>& findings) {
  std::map<std::string, Share> held;
  for (const Slice& slice : slices) {
    Share& sum = held[slice.device_id];
    sum.memory_bytes += slice.share.memory_bytes;
    sum.compute_percent += slice.share.compute_percent;
    auto is_its = [&](const Device& device) { return device.id == slice.device_id; };
    if (std::any_of(devices.begin(), devices.end(), is_its)) continue;
    findings.push_back(
        {"warning", slice.device_id, Reason::DeviceGone,
         fmt::format("slice {} of {} is on {}, which is not there", slice.id, slice.owner, slice.device_id),
         "bring the device back, or stop the deployment"});
  }
  for (const Device& device : devices) {
    auto found = held.find(device.id);
    if (found == held.end()) continue;
    const Share& sum = found->second;
    if (sum.memory_bytes <= device.memory_bytes && sum.compute_percent <= 100) continue;
    findings.push_back({"warning", device.id, Reason::DeviceGone,
                        fmt::format("its slices hold {} and {} %, it has {}", format_bytes(sum.memory_bytes),
                                    sum.compute_percent, format_bytes(device.memory_bytes)),
                        "stop a deployment there"});
  }
}

// A release is one step of the manager, so one that is under way when somebody looks has failed.
void look_at_releases(const std::vector<device::SliceEntry>& entries, std::vector<Finding>& findings) {
  for (const device::SliceEntry& entry : entries) {
    if (entry.state != device::SliceState::Releasing) continue;
    findings.push_back({"warning", entry.slice.id, Reason::SliceLeaked,
                        fmt::format("slice {} on {} cannot be given back; it is tried again each second",
                                    entry.slice.id, entry.slice.device_id),
                        fmt::format("`tweendeck events --subject {}` tells why", entry.slice.id)});
  }
}

// The vgpu library ends such a program at its start; better to know before.
void look_at_engines(const serving::EngineCatalog& catalog, std::vector<Finding>& findings) {
  for (const serving::EngineSpec& engine : catalog.engines()) {
    for (const std::string& program :
         serving::programs_of_musl(engine, catalog.python(), catalog.bin_dir())) {
      findings.push_back({"warning", engine.name, Reason::EngineCannotServe,
                          fmt::format("{} uses the C library musl, so it cannot run in a GPU slice", program),
                          "use a build for glibc; the GPU's driver needs it too"});
    }
  }
}

}  // namespace

std::vector<Finding> Daemon::findings() {
  std::vector<Finding> findings;
  look_at_disk(config_.state_dir, findings);
  for (const Error& degraded : devices_->degraded()) findings.push_back(warning("cgroups", degraded));
  for (const std::string& other : devices_->other_groups()) {
    findings.push_back({"warning", "cgroups", Reason::AlreadyExists,
                        fmt::format("another tweendeck has slices on this machine (cgroup {}); neither knows "
                                    "what the other hands out",
                                    other),
                        "run one daemon per machine, or leave room for the other one"});
  }
  std::vector<device::SliceEvent> problems;
  std::vector<Device> devices = devices_->manager().discover(&problems);
  for (const device::SliceEvent& problem : problems) {
    findings.push_back({"error", "devices", problem.reason, problem.message, ""});
  }
  for (const Device& device : devices) look_at_device(device, findings);
  look_at_slices(devices, devices_->broker().slices(), findings);
  look_at_releases(devices_->manager().slices(), findings);
  for (const device::Finding& found : devices_->manager().findings()) {
    findings.push_back(
        {"error", found.slice_id.empty() ? "devices" : found.slice_id, found.reason, found.message,
         found.slice_id.empty()
             ? "run it with `tweendeck exec`, or stop it"
             : "stop what runs in the slice; `tweendeck up --on-tampering` can do that by itself"});
  }
  auto is_nvidia = [](const Device& device) { return device.provider == "nvidia"; };
  if (std::none_of(devices.begin(), devices.end(), is_nvidia)) {
    findings.push_back({"info", "nvidia", Reason::DriverMissing,
                        "no NVIDIA GPU is visible; models run on what `devices` lists",
                        "with a GPU in the machine, install its driver"});
  }
  if (!sandboxed_) {
    findings.push_back({"warning", "replicas", Reason::SandboxUnavailable,
                        "replicas run as the daemon's own user, without a sandbox",
                        "run the daemon as root"});
  }
  if (paths_.python.empty()) {
    findings.push_back({"warning", "engines", Reason::EngineNotInstalled,
                        "there is no Python environment for engines",
                        "run scripts/setup, or name one with TWEENDECK_PYTHON"});
  }
  for (const Error& broken : catalog_->broken()) findings.push_back(warning("engines", broken));
  look_at_engines(*catalog_, findings);
  bool tls = !config_.gateway.cert_file.empty();
  if (!net::is_loopback(config_.gateway.listen) && !tls) {
    findings.push_back({"warning", "gateway", Reason::TlsOff,
                        "API keys and prompts cross the network in clear text", "give --cert and --key"});
  }
  for (const serving::Finding& found : controller_->doctor()) {
    bool fine = found.harmless || exit_code(found.reason) == ExitCode::Ok;
    findings.push_back({fine ? "info" : "warning", found.subject, found.reason, found.message, found.hint});
  }
  return findings;
}

}  // namespace tweendeck::daemon

// What doctor looks at: the findings of every room, told in one list.
#include <fmt/format.h>
#include <sys/statvfs.h>

#include <algorithm>

#include "app/daemon/daemon.h"
#include "base/units.h"

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
                      fmt::format("{} has {} left; below {} changes may be refused and logs dropped", dir, format_bytes(free_bytes),
                                  format_bytes(kLeastFreeBytes)),
                      "free some space"});
}

void look_at_device(const Device& device, std::vector<Finding>& findings) {
  if (!device.healthy) {
    findings.push_back({"error", device.id, device.health_reason, fmt::format("{} reports a fault", device.model),
                        "slices on it cannot be trusted; see the driver's log"});
  }
  if (device.isolation_reason != Reason::None) {
    findings.push_back({"warning", device.id, device.isolation_reason,
                        fmt::format("slices are isolated at level {} only", to_string(device.isolation)),
                        std::string(describe(device.isolation_reason))});
  }
  if (device.simulated) {
    findings.push_back({"info", device.id, Reason::SimulatedDevice, fmt::format("{} is software", device.model), ""});
  }
}

}  // namespace

std::vector<Finding> Daemon::findings() {
  std::vector<Finding> findings;
  look_at_disk(config_.state_dir, findings);
  for (const Error& degraded : devices_->degraded()) findings.push_back(warning("cgroups", degraded));
  std::vector<device::SliceEvent> problems;
  std::vector<Device> devices = devices_->manager().discover(&problems);
  for (const device::SliceEvent& problem : problems) {
    findings.push_back({"error", "devices", problem.reason, problem.message, ""});
  }
  for (const Device& device : devices) look_at_device(device, findings);
  auto is_nvidia = [](const Device& device) { return device.provider == "nvidia"; };
  if (std::none_of(devices.begin(), devices.end(), is_nvidia)) {
    findings.push_back({"info", "nvidia", Reason::DriverMissing, "no NVIDIA GPU is visible; models run on what `devices` lists",
                        "with a GPU in the machine, install its driver"});
  }
  if (!sandboxed_) {
    findings.push_back({"warning", "replicas", Reason::SandboxUnavailable,
                        "replicas run as the daemon's own user, without a sandbox", "run the daemon as root"});
  }
  if (paths_.python.empty()) {
    findings.push_back({"warning", "engines", Reason::EngineNotInstalled, "there is no Python environment for engines",
                        "run scripts/setup, or name one with TWEENDECK_PYTHON"});
  }
  for (const Error& broken : catalog_->broken()) findings.push_back(warning("engines", broken));
  bool tls = !config_.gateway.cert_file.empty();
  if (!net::is_loopback(config_.gateway.listen) && !tls) {
    findings.push_back({"warning", "gateway", Reason::Unsupported, "API keys and prompts cross the network in clear text",
                        "give --cert and --key"});
  }
  for (const serving::Finding& found : controller_->doctor()) {
    findings.push_back({exit_code(found.reason) == ExitCode::Ok ? "info" : "warning", found.subject, found.reason, found.message, found.hint});
  }
  return findings;
}

}  // namespace tweendeck::daemon

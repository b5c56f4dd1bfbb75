#include "serving/controller/launch_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <iterator>

#include "serving/shim/layout.h"

namespace tweendeck::serving {
namespace {

namespace fs = std::filesystem;

constexpr char kEnginePath[] = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

std::string below_sandbox(const std::string& name) {
  return std::string(shim::kSandboxRoot) + "/" + name;
}

// Where the process finds things: at fixed places in its sandbox, or where they really are.
struct Paths {
  std::string engine;
  std::string python;
  std::string model;
  std::string bin;
  std::string work;
  std::vector<Mount> mounts;
};

Paths direct_paths(const LaunchInput& input) {
  return {input.engine->folder,
          input.python,
          input.deployment->model_path,
          input.bin_dir,
          input.replica_dir + "/" + shim::kWorkDir,
          {}};
}

Paths sandbox_paths(const LaunchInput& input) {
  Paths paths;
  paths.work = below_sandbox(shim::kWorkDir);
  paths.mounts.push_back({input.replica_dir + "/" + shim::kWorkDir, paths.work, false});
  paths.engine = below_sandbox("engine");
  paths.mounts.push_back({input.engine->folder, paths.engine, true});
  if (!input.python.empty()) {
    const fs::path python(input.python);
    paths.python = below_sandbox("python/bin/" + python.filename().string());
    paths.mounts.push_back({python.parent_path().parent_path(), below_sandbox("python"), true});
  }
  if (!input.bin_dir.empty()) {
    paths.bin = below_sandbox("bin");
    paths.mounts.push_back({input.bin_dir, paths.bin, true});
  }
  if (!input.deployment->model_path.empty()) {
    paths.model = below_sandbox("model/" + fs::path(input.deployment->model_path).filename().string());
    paths.mounts.push_back({input.deployment->model_path, paths.model, true});
  }
  std::ranges::copy(input.grant->mounts, std::back_inserter(paths.mounts));
  return paths;
}

// Without a sandbox, nothing is mounted where the slice's environment says; it names the sources instead.
std::string without_mounts(std::string value, const std::vector<Mount>& mounts) {
  for (const Mount& mount : mounts) {
    for (size_t at = value.find(mount.target); at != std::string::npos;
         at = value.find(mount.target, at + mount.source.size())) {
      value.replace(at, mount.target.size(), mount.source);
    }
  }
  return value;
}

std::string cpus(const LaunchInput& input) {
  const double share = input.device_cpus * input.grant->slice.share.compute_percent / 100.0;
  return fmt::format("{:.2f}", share);
}

std::vector<EnvVar> environment(const LaunchInput& input, const Paths& paths, const Placeholders& values) {
  std::vector<EnvVar> env = {
      {"PATH", kEnginePath}, {"HOME", paths.work}, {"TMPDIR", paths.work}, {"LANG", "C.UTF-8"}};
  for (const auto& [key, value] : input.engine->env) env.emplace_back(key, expand(value, values));
  for (const auto& [key, value] : input.grant->env) {
    env.emplace_back(key, input.sandbox ? value : without_mounts(value, input.grant->mounts));
  }
  const Share& share = input.grant->slice.share;
  env.insert(env.end(), {{"TWEENDECK_REPLICA", input.replica_id},
                         {"TWEENDECK_MODEL_NAME", input.deployment->model_name},
                         {"TWEENDECK_HOST", input.host},
                         {"TWEENDECK_PORT", std::to_string(input.port)},
                         {"TWEENDECK_SLICE_MEMORY_BYTES", std::to_string(share.memory_bytes)},
                         {"TWEENDECK_SLICE_COMPUTE_PERCENT", std::to_string(share.compute_percent)},
                         {"TWEENDECK_DEVICE_ID", input.grant->slice.device_id},
                         {"TWEENDECK_STATUS_FILE", paths.work + "/status.json"}});
  if (input.device_cpus > 0) env.emplace_back("TWEENDECK_SLICE_CPUS", cpus(input));
  return env;
}

}  // namespace

LaunchPlan make_launch_plan(const LaunchInput& input) {
  const Paths paths = input.sandbox ? sandbox_paths(input) : direct_paths(input);
  const StoredDeployment& deployment = *input.deployment;
  Placeholders values{{"python", paths.python},
                      {"engine", paths.engine},
                      {"model", deployment.model_path.empty() ? deployment.model_name : paths.model},
                      {"model_name", deployment.model_name},
                      {"host", input.host},
                      {"port", std::to_string(input.port)},
                      {"bin", paths.bin}};
  LaunchPlan plan;
  plan.launch = input.launch;
  plan.start = input.start;
  plan.port = input.port;
  plan.uid = input.uid;
  plan.mounts = paths.mounts;
  plan.cgroup_procs = input.grant->cgroup_procs;
  plan.env = environment(input, paths, values);
  for (const std::string& word : input.engine->command) plan.command.push_back(expand(word, values));
  for (const std::string& adapter : deployment.spec.adapters) {
    values["adapter"] = adapter;
    for (const std::string& word : input.engine->adapter_args) plan.command.push_back(expand(word, values));
  }
  std::ranges::copy(deployment.spec.engine_args, std::back_inserter(plan.command));
  plan.stop_signal = input.engine->stop_signal;
  plan.stop_grace = input.engine->stop_grace;
  plan.log_bytes = input.log_bytes;
  return plan;
}

Claim engine_claim(const Claim& claim, const EngineSpec& engine, const std::vector<Device>& devices) {
  Claim result = claim;
  if (claim.device_ids.empty()) {
    result.device_ids = engine.devices;
    return result;
  }
  result.device_ids.clear();
  for (const std::string& wanted : claim.device_ids) {
    const bool usable = std::ranges::any_of(devices, [&](const Device& device) {
      return (device.id == wanted || device.provider == wanted) &&
             std::ranges::find(engine.devices, device.provider) != engine.devices.end();
    });
    if (usable) result.device_ids.push_back(wanted);
  }
  // A device that has just gone: keep the wish, so that placement explains it.
  if (result.device_ids.empty()) result.device_ids = claim.device_ids;
  return result;
}

}  // namespace tweendeck::serving

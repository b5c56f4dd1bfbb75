// Shared by the controller's tests: a machine with one CPU device whose slices are files, and engine folders
// whose model server is a small script.
#pragma once

#include <chrono>
#include <filesystem>
#include <fstream>
#include <functional>
#include <mutex>
#include <set>
#include <string>
#include <thread>

#include "base/units.h"
#include "serving/controller/controller.h"

namespace tweendeck::serving::testing {

namespace fs = std::filesystem;

inline constexpr auto kPatience = std::chrono::seconds(60);

template <class Condition>
bool eventually(Condition condition) {
  const auto end = std::chrono::steady_clock::now() + kPatience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > end) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return true;
}

inline void write_text(const fs::path& path, const std::string& text) {
  fs::create_directories(path.parent_path());
  std::ofstream(path) << text;
}

// Slices are files in a directory, so they outlive the controller as real ones do.
class FakeMachine {
 public:
  explicit FakeMachine(fs::path dir) : dir_(std::move(dir)) { fs::create_directories(dir_); }

  Ports ports() {
    Ports ports;
    ports.list_devices = [this] {
      return device_gone ? std::vector<Device>{} : std::vector<Device>{device()};
    };
    ports.acquire_slice = [this](const DeploymentSpec& spec, const std::string& owner,
                                 const std::string& id) { return acquire(spec, owner, id); };
    ports.release_slice = [this](const std::string& id) -> Status {
      fs::remove(dir_ / id);
      return {};
    };
    ports.list_slices = [this] { return slices(); };
    ports.slice_usage = [this](const std::string&) -> Result<SliceUse> {
      const std::lock_guard lock(mutex_);
      SliceUse use;
      use.oom_kills = oom_kills;
      return use;
    };
    ports.publish_endpoint = [this](const Endpoint& endpoint) {
      const std::lock_guard lock(mutex_);
      endpoints_[endpoint.id] = endpoint;
    };
    ports.remove_endpoint = [this](const std::string& id) {
      const std::lock_guard lock(mutex_);
      endpoints_.erase(id);
    };
    ports.requests_in_flight = [this](const std::string&) { return in_flight.load(); };
    return ports;
  }

  static Device device() {
    Device device;
    device.id = "cpu0";
    device.provider = "cpu";
    device.memory_bytes = 8 * kGiB;
    device.compute_units = 4;
    device.isolation = Isolation::Kernel;
    return device;
  }

  std::vector<Slice> slices() const {
    std::vector<Slice> result;
    for (const auto& entry : fs::directory_iterator(dir_)) {
      Slice slice;
      slice.id = entry.path().filename();
      slice.device_id = "cpu0";
      std::ifstream(entry.path()) >> slice.owner;
      result.push_back(std::move(slice));
    }
    return result;
  }
  std::map<std::string, Endpoint> endpoints() const {
    const std::lock_guard lock(mutex_);
    return endpoints_;
  }

  std::atomic<bool> device_gone{false};
  std::atomic<size_t> capacity{100};
  std::atomic<uint32_t> in_flight{0};
  std::atomic<uint64_t> oom_kills{0};

 private:
  Result<SliceGrant> acquire(const DeploymentSpec& spec, const std::string& owner, const std::string& id) {
    if (!fs::exists(dir_ / id) && slices().size() >= capacity) {
      return fail(Reason::InsufficientMemory, "cpu0 lacks 1 GiB", "stop another replica");
    }
    std::ofstream(dir_.string() + ".new") << owner;
    fs::rename(dir_.string() + ".new", dir_ / id);  // whole or not at all, as the real journal's records
    SliceGrant grant;
    grant.slice.id = id;
    grant.slice.device_id = "cpu0";
    grant.slice.share = spec.claim.share;
    grant.slice.owner = owner;
    grant.slice.deployment = spec.name;
    grant.slice.isolation = Isolation::Kernel;
    grant.provider = "cpu";
    return grant;
  }

  fs::path dir_;
  mutable std::mutex mutex_;
  std::map<std::string, Endpoint> endpoints_;
};

// A model server in a few lines. `{model_name}` decides how it behaves.
inline constexpr char kStubServer[] = R"py(
import json, os, sys, time
from http.server import BaseHTTPRequestHandler, HTTPServer
kind = sys.argv[1]
if kind == 'crash':
    print('cannot go on', flush=True)
    sys.exit(3)
if kind == 'small':
    with open(os.environ['TWEENDECK_STATUS_FILE'], 'w') as f:
        json.dump({'reason': 'SliceTooSmall', 'message': 'needs 2 GiB', 'hint': 'give more'}, f)
    sys.exit(1)
if kind == 'hang':
    time.sleep(1000)
healthy = True
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        ok = not os.path.exists('sick')
        self.send_response(200 if ok else 500)
        self.send_header('Content-Length', '0')
        self.end_headers()
        if self.path == '/sicken':
            open('sick', 'w').close()
    def log_message(self, *args):
        pass
server = HTTPServer((sys.argv[2], int(sys.argv[3])), Handler)
with open(os.environ['TWEENDECK_STATUS_FILE'] + '.tmp', 'w') as f:
    json.dump({'max_in_flight': 2, 'context_tokens': 4096}, f)
os.rename(f.name, os.environ['TWEENDECK_STATUS_FILE'])
print('serving', kind, 'args', sys.argv[4:], flush=True)
server.serve_forever()
)py";

inline constexpr char kStubEngine[] = R"yaml(apiVersion: tweendeck/v1
kind: Engine
name: stub
description: a script for tests
simulated: true
models:
  names: [good, crash, small, hang, other]
devices: [cpu]
command: [/usr/bin/python3, "{engine}/server.py", "{model_name}", "{host}", "{port}"]
ready: {path: /health, timeout_s: START_LIMIT}
health: {path: /health, interval_s: 1, timeout_s: 5, failures: 2}
stop: {signal: TERM, grace_s: 2}
)yaml";

inline void write_stub_engine(const fs::path& engines, int start_limit_s) {
  std::string yaml = kStubEngine;
  yaml.replace(yaml.find("START_LIMIT"), 11, std::to_string(start_limit_s));
  write_text(engines / "stub" / "engine.yaml", yaml);
  write_text(engines / "stub" / "server.py", kStubServer);
}

inline DeploymentSpec stub_spec(const std::string& name, const std::string& model, uint32_t replicas) {
  DeploymentSpec spec;
  spec.name = name;
  spec.model = model;
  spec.replicas = replicas;
  spec.claim.name = name;
  spec.claim.share.memory_bytes = 256 * kMiB;
  spec.claim.share.compute_percent = 10;
  return spec;
}

inline ControllerConfig stub_config(const fs::path& state_dir) {
  const char* build = std::getenv("TWEENDECK_BUILD_DIR");
  ControllerConfig config;
  config.state_dir = state_dir;
  config.shim = std::string(build == nullptr ? "build/release" : build) + "/bin/tweendeck-shim";
  config.drain = kSecond;
  config.plan.backoff_first = 100 * kMillisecond;
  config.plan.slice_retry = 100 * kMillisecond;
  return config;
}

}  // namespace tweendeck::serving::testing

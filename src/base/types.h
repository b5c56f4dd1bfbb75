// The plain structs that engines exchange. Engines never include each other; they meet here.
// Words as in ARCHITECTURE.md: device, slice, claim, endpoint. Pure data; no invariants beyond the comments.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/reason.h"

namespace tweendeck {

// What keeps a slice inside its share, weakest first, so that levels compare with <.
enum class Isolation : uint8_t {
  None,      // nothing: time slicing, or limits that nobody enforces
  Library,   // our vgpu library inside the tenant's process (cooperative tenants)
  Driver,    // the driver (MPS)
  Kernel,    // the kernel (cgroup)
  Hardware,  // the device (MIG)
};
std::string_view to_string(Isolation isolation);  // "none", "library", "driver", "kernel", "hardware"
bool parse_isolation(std::string_view name, Isolation& out);

// A link from one device to another, for example NVLink.
struct DeviceLink {
  std::string peer_id;
  std::string kind;  // "nvlink", "pcie", "same-numa", ...
  bool operator==(const DeviceLink&) const = default;
};

// One accelerator as a provider discovered it. `compute` of a whole device is always 100 percent.
struct Device {
  std::string id;        // unique on this machine and stable over restarts: "cpu0", "soft1", "gpu0"
  std::string provider;  // "cpu", "nvidia", "soft"
  std::string vendor;    // "AMD", "NVIDIA", "Tweendeck"
  std::string model;     // "AMD EPYC", "NVIDIA H100 80GB HBM3", "Tweendeck Soft H100-80G (simulated)"
  std::string uuid;
  std::string pci_bus_id;      // "" when it has none
  int numa_node = -1;          // -1 when unknown
  uint64_t memory_bytes = 0;   // what slices may use together
  uint32_t compute_units = 0;  // CPUs or SMs; informative
  bool mig_enabled = false;
  Isolation isolation = Isolation::None;   // strongest level that a slice gets here now
  Reason isolation_reason = Reason::None;  // why it is not stronger
  bool healthy = true;
  Reason health_reason = Reason::None;
  bool simulated = false;  // a software device; everything shown to people says so
  std::vector<DeviceLink> links;
  bool operator==(const Device&) const = default;
};

// A share of one device. Percent of the whole device; 100 = all its compute.
struct Share {
  uint64_t memory_bytes = 0;
  uint32_t compute_percent = 0;
  int32_t priority = 0;          // higher may preempt lower; 0 is the default
  uint32_t ceiling_percent = 0;  // compute it may use while others are idle; 0 = compute_percent
  uint32_t weight = 0;           // among those that want idle compute; 0 = compute_percent
  uint32_t memory_wait_ms = 0;   // how long an allocation that finds no room waits for some; 0 = not at all
  bool operator==(const Share&) const = default;
};

// A share that is held by someone. `owner` is the replica ("chat-2") and `deployment` what it belongs to
// ("chat").
struct Slice {
  std::string id;
  std::string device_id;
  Share share;
  std::string owner;
  std::string deployment;
  Isolation isolation = Isolation::None;
  Reason isolation_reason = Reason::None;
  bool paused = false;  // its compute waits until it is resumed
  bool operator==(const Slice&) const = default;
};

// How the slices of one claim choose among devices that fit.
enum class Spread : uint8_t {
  Pack,    // fill the fullest device first, keep whole devices free
  Spread,  // use the emptiest device first, so that one fault hits few replicas
};

// A request for `count` equal slices. Empty selectors accept everything.
struct Claim {
  std::string name;  // the deployment
  uint32_t count = 1;
  Share share;
  std::vector<std::string> device_ids;  // exact device ids, or provider names ("soft")
  std::string model;                    // case-insensitive part of Device::model
  std::string vendor;                   // case-insensitive, whole word
  Isolation min_isolation = Isolation::None;
  Spread spread = Spread::Spread;
  bool distinct_devices = false;  // at most one slice of the claim per device
  bool operator==(const Claim&) const = default;
};

// What an endpoint does. Only All exists until prefill and decode are separated.
enum class Role : uint8_t { All, Prefill, Decode, Encode };

enum class EndpointState : uint8_t { Starting, Ready, Draining, Unhealthy };
std::string_view to_string(EndpointState state);  // "starting", "ready", "draining", "unhealthy"

// One model server replica as routing sees it.
struct Endpoint {
  std::string id;          // the replica: "chat-2"
  std::string deployment;  // "chat"
  std::string address;     // IPv4 literal: "127.0.0.1"
  uint16_t port = 0;
  std::vector<std::string> models;    // every name it answers to, LoRA adapters included
  std::vector<std::string> adapters;  // those of `models` that the engine itself knows beside served_model
  std::string served_model;           // the name the engine itself expects in `model` for all others
  Role role = Role::All;
  EndpointState state = EndpointState::Starting;
  uint32_t max_in_flight = 0;  // requests at once; 0 = no limit of its own
  std::string metrics_path;    // "/metrics"; "" = nothing to scrape
  std::string engine;          // "llamacpp", "vllm", "sim"
  bool simulated = false;
  bool operator==(const Endpoint&) const = default;
};

// Load as an endpoint reports it; corrects the router's own account. Negative = not reported.
struct EndpointLoad {
  int64_t running = -1;
  int64_t waiting = -1;
  double kv_cache_usage = -1;  // 0..1
};

using EnvVar = std::pair<std::string, std::string>;

// A file or directory that a replica's sandbox shows at `target`.
struct Mount {
  std::string source;
  std::string target;
  bool read_only = true;
  bool operator==(const Mount&) const = default;
};

}  // namespace tweendeck

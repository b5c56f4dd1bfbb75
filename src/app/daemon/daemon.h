// The daemon of one machine: every room composed, from the state lock to the gateway.
//
//   Result<std::unique_ptr<Daemon>> daemon = Daemon::start(config);   // running; replicas adopted; gateway
//                                                                     // listens
//   while (...) { (*daemon)->housekeep(); ... }                       // about once a second
//   (*daemon)->stop(StopMode::KeepReplicas, drain);
//
// Start order: state lock, devices (recovered), controller (replicas adopted), gateway, local API. So whoever
// is answered by the local API finds everything running. start() leaves nothing behind when it fails.
// housekeep(), stop() and pending_request() belong to one thread; the rest is used by the local API's
// threads.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <set>
#include <string>

#include "app/daemon/api_json.h"
#include "app/daemon/devices.h"
#include "app/daemon/endpoint_board.h"
#include "app/daemon/install_paths.h"
#include "app/daemon/lost_requests.h"
#include "app/daemon/state_metrics.h"
#include "app/daemon/watchman.h"
#include "base/clock.h"
#include "base/metrics.h"
#include "net/control_server.h"
#include "net/listener.h"
#include "routing/gateway/gateway.h"
#include "routing/router.h"
#include "routing/sources/metrics_scraper.h"
#include "serving/controller/controller.h"

namespace tweendeck::daemon {

struct DaemonConfig {
  std::string state_dir;
  std::string version;
  std::string soft_gpus;  // "2:H100-80G", "none", "" = as remembered
  std::string engines;    // "" = the shipped ones
  Nanos drain = serving::kDefaultDrain;
  TamperPolicy on_tampering = TamperPolicy::Report;
  routing::gateway::GatewayConfig gateway;
  routing::RouterConfig router;
  cli::Environment environment;
  std::function<void()> on_request;  // wakes the thread that looks at pending_request()
};

// What somebody asked of the daemon itself by the local API.
struct DaemonRequest {
  enum class Kind : uint8_t {
    Down,     // everything ends
    Replace,  // another daemon takes over
    Leave,    // only the daemon ends, by a signal
  } kind = Kind::Down;
  Nanos drain = 0;
};

class Daemon {
 public:
  static Result<std::unique_ptr<Daemon>> start(DaemonConfig config);
  // Whether start() would succeed once the daemon that listens on `ours` and holds the slices `held` has
  // left: engines, software GPUs, keys, certificates, address. Changes nothing. Errors: those of start().
  static Status check(const DaemonConfig& config, const std::optional<net::Address>& ours,
                      const std::vector<device::SliceEntry>& held);
  ~Daemon();

  void housekeep();
  // To be called kWatchTick apart: tells what the device's watches found and applies the policy.
  void watch();
  std::optional<DaemonRequest> pending_request() const;

  // Down only: every deployment ends, running requests first; the drain is pending_request()'s, which a
  // further `down` may shorten. Returns when no process of a replica is left. Errors: Timeout when all
  // processes ended in time and something of their records did not.
  Status stop_replicas();
  // Requests in flight get up to `drain`, and until they have ended the local API answers whoever looks;
  // replicas go on running. Idempotent.
  void stop(Nanos drain);

  std::string gateway_url() const;
  std::string summary() const;  // one line for people: what this machine offers

 private:
  explicit Daemon(DaemonConfig config) : config_(std::move(config)), metrics_(registry_) {}

  static Result<InstallPaths> install_paths(const DaemonConfig& config);
  Status open_state();
  Status open_devices();
  Status start_controller();
  Status start_gateway();
  Status start_api();
  serving::Ports ports();
  routing::sources::MetricNames metric_names(const std::string& engine) const;
  routing::gateway::GatewayEvents gateway_events();
  void add_read_routes();
  void add_write_routes();
  void add_stream_routes();
  void refuse_changes(Nanos drain);
  void add_slice_routes();
  // What `why` knows the slice by: its replica or program; "devices" for "".
  std::string owner_of(const std::string& slice_id);
  void record(const device::SliceEvent& event);
  void record(const std::vector<LostRequestsEvent>& lost);

  // Answers of the local API.
  std::string version_json() const;
  std::string devices_json();
  std::string deployments_json();
  Result<std::string> deployment_json(const std::string& name);
  Result<std::string> apply_json(const std::string& body);
  Result<std::string> scale_json(const std::string& name, const std::string& body);
  Result<std::string> remove_json(const net::ControlRequest& request);
  std::string slices_json();
  Result<std::string> take_slice_json(const std::string& body);
  Result<std::string> resize_json(const std::string& name, const std::string& body);
  Result<std::string> release_slice_json(const std::string& id);
  void release_ended_programs();  // gives back the slices of `exec` whose lease nobody holds
  Status release_programs();      // gives back all of them
  Result<std::string> why_json(const std::string& name);
  std::string events_json(uint64_t since);
  std::string endpoints_json();
  std::string catalog_json() const;
  std::vector<Finding> findings();
  Result<std::string> take_request(DaemonRequest request);
  Result<std::string> down_json(const std::string& body);
  // Runs a change of what is wanted, unless the daemon is stopping (ShuttingDown). One at a time.
  Result<std::string> change(const std::function<Result<std::string>()>& work);
  Nanos stop_grace() const;  // the longest of any engine
  Status follow_events(uint64_t since, net::ControlStream& out);
  Status send_log(const net::ControlRequest& request, net::ControlStream& out);
  UseBySlice uses(const std::vector<Slice>& slices);

  DaemonConfig config_;
  SystemClock clock_;
  Registry registry_;
  StateMetrics metrics_;
  InstallPaths paths_;
  bool sandboxed_ = false;
  Nanos started_wall_ns_ = 0;
  size_t adopted_ = 0;  // replicas that ran when it started
  std::string socket_path_;

  std::unique_ptr<serving::StateStore> store_;
  std::unique_ptr<Devices> devices_;
  std::optional<Watchman> watchman_;
  std::set<std::string> unreleased_;  // slices of ended programs that could not be given back, as was told
  std::optional<serving::EngineCatalog> catalog_;
  LostRequests lost_requests_;  // outlives the gateway, whose loop counts in it
  std::unique_ptr<routing::gateway::Gateway> gateway_;
  std::unique_ptr<routing::sources::MetricsScraper> scraper_;
  EndpointBoard board_;
  std::unique_ptr<serving::Controller> controller_;
  std::unique_ptr<net::ControlServer> api_;

  std::mutex change_mutex_;  // held while what is wanted changes; taken before request_mutex_
  mutable std::mutex request_mutex_;
  std::optional<DaemonRequest> request_;
  std::atomic<bool> stopping_{false};
};

}  // namespace tweendeck::daemon

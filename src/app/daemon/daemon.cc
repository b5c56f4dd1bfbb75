#include "app/daemon/daemon.h"

#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <fstream>

#include "app/client/slice_lease.h"
#include "app/client/state_dir.h"
#include "base/log.h"
#include "base/units.h"
#include "serving/process/replica_dir.h"
#include "serving/store/state_lock.h"

namespace tweendeck::daemon {
namespace {

constexpr Nanos kEndMargin = 30 * kSecond;  // beyond drain and grace: for killed processes to end
constexpr Nanos kStopPoll = kSecond;

// Where sockets go whose path would be too long: a directory of this user only.
std::string runtime_dir(const cli::Environment& environment) {
  if (geteuid() == 0) return "/run/tweendeck";
  std::string given = environment("XDG_RUNTIME_DIR").value_or("");
  return given.empty() ? fmt::format("/tmp/tweendeck-{}", geteuid()) : given + "/tweendeck";
}

std::string action_of(Reason reason) {
  if (reason == Reason::OutOfMemory) return "Killed";
  return reason == Reason::MemoryPressure ? "Pressure" : "Recovered";
}

}  // namespace

Result<std::unique_ptr<Daemon>> Daemon::start(DaemonConfig config) {
  std::unique_ptr<Daemon> daemon(new Daemon(std::move(config)));
  for (Status (Daemon::*step)() : {&Daemon::open_state, &Daemon::open_devices, &Daemon::start_controller,
                                   &Daemon::start_gateway, &Daemon::start_api}) {
    if (Status done = (*daemon.*step)(); !done) return fail(done.error());
  }
  daemon->housekeep();
  return daemon;
}

Result<InstallPaths> Daemon::install_paths(const DaemonConfig& config) {
  Result<std::string> program = own_program();
  if (!program) return fail(program.error());
  return find_install_paths(*program, config.engines, config.environment);
}

Status Daemon::check(const DaemonConfig& config, const std::optional<net::Address>& ours,
                     const std::vector<device::SliceEntry>& held) {
  if (Status state = serving::StateStore::check(config.state_dir); !state) return state;
  Result<InstallPaths> paths = install_paths(config);
  if (!paths) return fail(paths.error());
  Result<serving::EngineCatalog> catalog =
      serving::EngineCatalog::load(paths->engines, paths->python, paths->bin);
  if (!catalog) return fail(catalog.error());
  if (Status devices = Devices::check(config.state_dir, config.soft_gpus, *paths, held); !devices)
    return devices;
  return routing::gateway::Gateway::check(config.gateway, ours);
}

Daemon::~Daemon() {
  stop(0);
}

Status Daemon::open_state() {
  started_wall_ns_ = clock_.wall_now();
  sandboxed_ = geteuid() == 0;
  Result<std::unique_ptr<serving::StateStore>> store = serving::StateStore::open(config_.state_dir);
  if (!store) return fail(store.error());
  store_ = std::move(*store);
  Result<InstallPaths> paths = install_paths(config_);
  if (!paths) return fail(paths.error());
  paths_ = std::move(*paths);
  return {};
}

Status Daemon::open_devices() {
  Result<std::unique_ptr<Devices>> devices =
      Devices::open(config_.state_dir, config_.soft_gpus, paths_, sandboxed_);
  if (!devices) return fail(devices.error());
  devices_ = std::move(*devices);
  client::remove_stale_leases(config_.state_dir);
  for (const Error& degraded : devices_->degraded()) {
    log::warning("Found a degraded mode", {{"reason", degraded.reason}, {"message", degraded.message}});
  }
  if (!sandboxed_) {
    log::warning("Found a degraded mode",
                 {{"reason", Reason::SandboxUnavailable}, {"message", "the daemon is not root"}});
  }
  return {};
}

serving::Ports Daemon::ports() {
  SliceBroker& broker = devices_->broker();
  serving::Ports ports;
  ports.list_devices = [&broker] { return broker.devices(); };
  ports.acquire_slice = [&broker](const serving::DeploymentSpec& spec, const std::string& owner,
                                  const std::string& id) { return broker.acquire(spec, owner, id); };
  ports.release_slice = [&broker](const std::string& id) { return broker.release(id); };
  // Slices of programs that are not served are none of the controller's business.
  ports.list_slices = [&broker] {
    std::vector<Slice> served = broker.slices();
    std::erase_if(served, [](const Slice& slice) { return slice.deployment.empty(); });
    return served;
  };
  ports.slice_usage = [&broker](const std::string& id) { return broker.usage(id); };
  ports.publish_endpoint = [this](const Endpoint& endpoint) { board_.publish(endpoint); };
  ports.remove_endpoint = [this](const std::string& id) { board_.remove(id); };
  ports.requests_in_flight = [this](const std::string& id) { return board_.in_flight(id); };
  ports.on_event = [this](const serving::Event& event) {
    registry_
        .counter("tweendeck_events_total", "Events by action and reason.",
                 {{"action", event.action}, {"reason", std::string(to_string(event.reason))}})
        .add();
  };
  return ports;
}

Status Daemon::start_controller() {
  Result<serving::EngineCatalog> catalog =
      serving::EngineCatalog::load(paths_.engines, paths_.python, paths_.bin);
  if (!catalog) return fail(catalog.error());
  catalog_ = std::move(*catalog);
  serving::ControllerConfig config;
  config.state_dir = config_.state_dir;
  config.shim = paths_.shim;
  config.python = paths_.python;
  config.bin_dir = paths_.bin;
  config.drain = config_.drain;
  adopted_ = serving::living_replicas(config_.state_dir);
  Result<std::unique_ptr<serving::Controller>> controller =
      serving::Controller::start(config, ports(), *store_, *catalog_, clock_);
  if (!controller) return fail(controller.error());
  controller_ = std::move(*controller);
  for (const device::SliceEvent& event : devices_->take_events()) record(event);
  return {};
}

routing::gateway::GatewayEvents Daemon::gateway_events() {
  // Called on the gateway's loop, which must not wait for the disk: housekeep() tells what was counted.
  routing::gateway::GatewayEvents events;
  events.on_lost_request = [this](const routing::gateway::LostRequest& lost) { lost_requests_.add(lost); };
  return events;
}

Status Daemon::start_gateway() {
  gateway_ = std::make_unique<routing::gateway::Gateway>(config_.gateway, config_.router, registry_, clock_,
                                                         gateway_events());
  if (Status started = gateway_->start(); !started) return started;
  scraper_ = std::make_unique<routing::sources::MetricsScraper>(
      gateway_->loop(), registry_, routing::sources::ScraperConfig{},
      [this](const std::string& id, const EndpointLoad& load) { gateway_->set_load(id, load); });
  scraper_->start();
  board_.connect(*gateway_, *scraper_, [this](const std::string& engine) { return metric_names(engine); });
  return {};
}

routing::sources::MetricNames Daemon::metric_names(const std::string& engine) const {
  Result<const serving::EngineSpec*> spec = catalog_->find(engine);
  if (!spec) return {};
  return {.running = (*spec)->metric_running,
          .waiting = (*spec)->metric_waiting,
          .kv_cache_usage = (*spec)->metric_kv_cache_usage};
}

Status Daemon::start_api() {
  std::string runtime = runtime_dir(config_.environment);
  socket_path_ = client::choose_socket_path(config_.state_dir, runtime);
  std::string pointer = config_.state_dir + "/socket";
  if (socket_path_.starts_with(config_.state_dir + "/")) {
    ::unlink(pointer.c_str());
  } else {
    if (Status made = serving::make_state_dir(runtime); !made) return made;
    std::ofstream file(pointer, std::ios::trunc);
    if (!(file << socket_path_ << '\n' << std::flush))
      return fail(system_error(errno, "cannot write " + pointer));
  }
  api_ = std::make_unique<net::ControlServer>();
  add_read_routes();
  add_write_routes();
  add_stream_routes();
  add_slice_routes();
  return api_->start(socket_path_);
}

std::string Daemon::owner_of(const std::string& slice_id) {
  for (const Slice& slice : devices_->broker().slices()) {
    if (slice.id == slice_id && !slice.owner.empty()) return slice.owner;
  }
  return slice_id.empty() ? "devices" : slice_id;
}

void Daemon::record(const device::SliceEvent& event) {
  controller_->record_event(owner_of(event.slice_id), event.reason, action_of(event.reason), event.message);
}

void Daemon::record(const std::vector<LostRequestsEvent>& lost) {
  for (const LostRequestsEvent& event : lost)
    controller_->record_event(event.replica, event.reason, event.action, event.message);
}

void Daemon::watch() {
  device::DeviceManager& manager = devices_->manager();
  if (!watchman_) {
    watchman_.emplace(config_.on_tampering,
                      Watchman::Hands{.restrain = [&manager](const std::string& id,
                                                             bool on) { return manager.restrain(id, on); },
                                      .kill = kill_process});
  }
  const std::vector<device::Finding> findings = manager.findings();
  registry_
      .gauge("tweendeck_tampering_findings", "Tenants that are around their limits now, as the watch finds.",
             {})
      .set(static_cast<double>(findings.size()));
  for (const Watchman::Told& told : watchman_->act(findings))
    controller_->record_event(owner_of(told.slice_id), told.reason, told.action, told.message);
}

void Daemon::housekeep() {
  record(lost_requests_.take(clock_.now()));
  release_ended_programs();
  for (const device::SliceEvent& event : devices_->manager().tend()) record(event);
  std::vector<Slice> slices = devices_->broker().slices();
  metrics_.update(devices_->broker().devices(), slices, uses(slices), controller_->list());
}

std::optional<DaemonRequest> Daemon::pending_request() const {
  std::scoped_lock lock(request_mutex_);
  return request_;
}

Nanos Daemon::stop_grace() const {
  Nanos longest = 0;
  for (const serving::EngineSpec& engine : catalog_->engines())
    longest = std::max(longest, engine.stop_grace);
  return longest;
}

Status Daemon::stop_replicas() {
  if (Status gone = release_programs(); !gone)
    log::warning("Could not end a program",
                 {{"reason", gone.error().reason}, {"message", gone.error().message}});
  const Nanos started = clock_.now();
  Nanos next_warning = 0;
  while (true) {
    Status gone = controller_->wait_gone("", kStopPoll);
    if (gone) return gone;
    housekeep();
    const Nanos limit = pending_request()->drain + stop_grace() + kEndMargin;
    const Nanos waited = clock_.now() - started;
    if (waited < limit || waited < next_warning) continue;
    // They are killed again and again; leaving would leave them behind.
    const size_t alive = serving::living_replicas(config_.state_dir);
    if (alive == 0) return gone;
    log::warning("Waits for processes that do not end",
                 {{"replicas", static_cast<uint64_t>(alive)}, {"waited", format_duration(waited)}});
    next_warning = waited + kEndMargin;
  }
}

void Daemon::stop(Nanos drain) {
  if (stopping_.exchange(true)) return;
  refuse_changes(drain);
  if (gateway_ != nullptr) {
    gateway_->begin_drain(drain);
    while (!gateway_->wait_drained(kStopPoll)) {
      if (api_ != nullptr) housekeep();
    }
  }
  if (api_ != nullptr) api_->stop();
  if (controller_ != nullptr) record(lost_requests_.take_rest());
  // The controller goes before the gateway: it asks the gateway questions, which answers only while it runs.
  controller_.reset();
  board_.disconnect();
  scraper_.reset();
  gateway_.reset();
  devices_.reset();
  store_.reset();
}

// A command may have done so already: then its own drain stands.
void Daemon::refuse_changes(Nanos drain) {
  std::scoped_lock changes(change_mutex_);
  std::scoped_lock lock(request_mutex_);
  if (!request_) request_ = DaemonRequest{DaemonRequest::Kind::Leave, drain};
}

std::string Daemon::gateway_url() const {
  bool tls = !config_.gateway.cert_file.empty();
  std::string ip = config_.gateway.listen.ip == "0.0.0.0" ? "127.0.0.1" : config_.gateway.listen.ip;
  return fmt::format("{}://{}:{}", tls ? "https" : "http", ip, gateway_->port());
}

std::string Daemon::summary() const {
  std::string names;
  for (const Device& device : devices_->broker().devices()) {
    names += fmt::format("{}{} ({}, {})", names.empty() ? "" : ", ", device.id, device.model,
                         format_bytes(device.memory_bytes));
  }
  std::string adopted =
      adopted_ == 0 ? "" : fmt::format(", {} running replica{} adopted", adopted_, adopted_ == 1 ? "" : "s");
  return fmt::format("gateway {}, state {}, devices {}{}", gateway_url(), config_.state_dir, names, adopted);
}

}  // namespace tweendeck::daemon

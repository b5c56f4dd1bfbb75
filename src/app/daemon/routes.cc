// The local API of the daemon: which path answers what. Schema: docs/reference/local-api.md.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <chrono>
#include <thread>

#include "app/daemon/daemon.h"
#include "base/text.h"
#include "base/units.h"
#include "serving/spec/deployment_spec.h"

namespace tweendeck::daemon {
namespace {

constexpr size_t kMaxEventsPerAnswer = 1000;
constexpr Nanos kFollowStep = 500 * kMillisecond;  // how soon a follower notices that its reader is gone
constexpr double kMaxDrainSeconds = 24 * 3600;
constexpr auto kLogPollInterval = std::chrono::milliseconds(200);

Error bad_body(std::string what) {
  return {Reason::InvalidArgument, "the request's body " + std::move(what),
          "docs/reference/local-api.md has its form"};
}

Error is_stopping() {
  return {Reason::ShuttingDown, "the daemon is stopping",
          "when it has ended, start one with `tweendeck up --detach`"};
}

Result<Nanos> drain_of(double seconds) {
  if (!(seconds >= 0 && seconds <= kMaxDrainSeconds)) {  // also false for what is no number
    return fail(Reason::InvalidArgument, "drain_s is no number of seconds that a drain may take",
                fmt::format("give 0 to {:.0f}, also parts such as 0.5", kMaxDrainSeconds));
  }
  return static_cast<Nanos>(seconds * static_cast<double>(kSecond));
}

Result<Nanos> drain_of(std::string_view text) {
  double seconds = -1;
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), seconds);
  bool whole = error == std::errc() && end == text.data() + text.size();
  return drain_of(whole ? seconds : -1);
}

}  // namespace

void Daemon::add_read_routes() {
  using Request = net::ControlRequest;
  api_->on("GET", "/v1/version", [this](const Request&) -> Result<std::string> { return version_json(); });
  api_->on("GET", "/v1/devices", [this](const Request&) -> Result<std::string> { return devices_json(); });
  api_->on("GET", "/v1/deployments",
           [this](const Request&) -> Result<std::string> { return deployments_json(); });
  api_->on("GET", "/v1/deployments/{name}",
           [this](const Request& r) { return deployment_json(std::string(r.param("name"))); });
  api_->on("GET", "/v1/why/{name}",
           [this](const Request& r) { return why_json(std::string(r.param("name"))); });
  api_->on("GET", "/v1/doctor",
           [this](const Request&) -> Result<std::string> { return findings_json(findings()); });
  api_->on("GET", "/v1/endpoints",
           [this](const Request&) -> Result<std::string> { return endpoints_json(); });
  api_->on("GET", "/v1/catalog", [this](const Request&) -> Result<std::string> { return catalog_json(); });
}

void Daemon::add_write_routes() {
  using Request = net::ControlRequest;
  api_->on("POST", "/v1/apply",
           [this](const Request& r) { return change([&] { return apply_json(r.body); }); });
  api_->on("POST", "/v1/deployments/{name}/scale", [this](const Request& r) {
    return change([&] { return scale_json(std::string(r.param("name")), r.body); });
  });
  api_->on("DELETE", "/v1/deployments/{name}",
           [this](const Request& r) { return change([&] { return remove_json(r); }); });
  api_->on("POST", "/v1/down", [this](const Request& r) { return down_json(r.body); });
  api_->on("POST", "/v1/replace",
           [this](const Request&) { return take_request({DaemonRequest::Kind::Replace, 0}); });
}

Result<std::string> Daemon::change(const std::function<Result<std::string>()>& work) {
  std::scoped_lock lock(change_mutex_);
  if (pending_request()) return fail(is_stopping());
  return work();
}

Result<std::string> Daemon::down_json(const std::string& text) {
  Nanos drain = config_.drain;
  if (!text.empty()) {
    Result<net::JsonValue> body = net::parse_json(text);
    if (!body) return fail(bad_body("is no JSON"));
    if (body->has("drain_s")) {
      Result<Nanos> given = drain_of((*body)["drain_s"].number_or(-1));
      if (!given) return fail(given.error());
      drain = *given;
    }
  }
  std::scoped_lock lock(change_mutex_);
  std::optional<DaemonRequest> pending = pending_request();
  if (pending && pending->kind != DaemonRequest::Kind::Down) return fail(is_stopping());
  // A further one never makes the end later than it was promised.
  if (pending) drain = std::min(drain, pending->drain);
  // Stored before the daemon begins to end: with a full disk the command is refused and everything goes on.
  if (Status removed = controller_->remove_all(drain); !removed) return fail(removed.error());
  gateway_->refuse_new();
  return take_request({DaemonRequest::Kind::Down, drain});
}

void Daemon::add_stream_routes() {
  api_->on_stream("GET", "/v1/events",
                  [this](const net::ControlRequest& r, net::ControlStream& out) -> Status {
                    Result<uint64_t> since = r.query_number("since", 0);
                    if (!since) return fail(since.error());
                    if (r.query_or("follow", "0") == "1") return follow_events(*since, out);
                    out.set_content_type("application/json");
                    out.write(events_json(*since));
                    return {};
                  });
  api_->on_stream("GET", "/v1/logs/{replica}",
                  [this](const net::ControlRequest& r, net::ControlStream& out) { return send_log(r, out); });
}

std::string Daemon::version_json() const {
  net::JsonWriter w;
  w.object().field("version", config_.version).field("pid", int64_t{getpid()});
  w.field("started", format_time(started_wall_ns_)).field("state_dir", config_.state_dir);
  w.field("listen", fmt::format("{}:{}", config_.gateway.listen.ip, gateway_->port()));
  w.field("gateway", gateway_url()).field("policy", to_string(config_.router.policy));
  w.field("stopping", pending_request().has_value()).end();
  return w.take();
}

UseBySlice Daemon::uses(const std::vector<Slice>& slices) {
  UseBySlice uses;
  for (const Slice& slice : slices) {
    if (Result<serving::SliceUse> use = devices_->broker().usage(slice.id); use) uses.emplace(slice.id, *use);
  }
  return uses;
}

std::string Daemon::devices_json() {
  std::vector<Slice> slices = devices_->broker().slices();
  UseBySlice use = uses(slices);
  net::JsonWriter w;
  w.object().array("devices");
  for (const Device& device : devices_->broker().devices()) write_device(w, device, slices, use);
  w.end().end();
  return w.take();
}

std::string Daemon::deployments_json() {
  UseBySlice use = uses(devices_->broker().slices());
  net::JsonWriter w;
  w.object().field("stopping", pending_request().has_value()).array("deployments");
  for (const serving::DeploymentView& deployment : controller_->list()) write_deployment(w, deployment, use);
  w.end().end();
  return w.take();
}

Result<std::string> Daemon::deployment_json(const std::string& name) {
  Result<serving::DeploymentView> deployment = controller_->get(name);
  if (!deployment) return fail(deployment.error());
  net::JsonWriter w;
  write_deployment(w, *deployment, uses(devices_->broker().slices()));
  return w.take();
}

Result<std::string> Daemon::apply_json(const std::string& text) {
  Result<net::JsonValue> body = net::parse_json(text);
  if (!body || !(*body)["deployments"].is_array()) return fail(bad_body("holds no list `deployments`"));
  std::vector<serving::DeploymentSpec> specs;
  for (const net::JsonValue& entry : (*body)["deployments"].items()) {
    net::JsonWriter one;
    one.value(entry);
    Result<serving::DeploymentSpec> spec = serving::parse_deployment_json(one.text());
    if (!spec) return fail(spec.error());
    specs.push_back(std::move(*spec));
  }
  Result<std::vector<serving::Applied>> applied = controller_->apply(specs);
  if (!applied) return fail(applied.error());
  net::JsonWriter w;
  w.object().array("deployments");
  for (size_t i = 0; i < specs.size(); ++i) {
    w.object().field("name", specs[i].name).field("result", serving::to_string((*applied)[i])).end();
  }
  w.end().end();
  return w.take();
}

Result<std::string> Daemon::scale_json(const std::string& name, const std::string& text) {
  Result<net::JsonValue> body = net::parse_json(text);
  int64_t replicas = body ? (*body)["replicas"].integer_or(-1) : -1;
  if (replicas < 0 || replicas > int64_t{serving::kMaxReplicas}) {
    return fail(bad_body(fmt::format("needs `replicas`, from 0 to {}", serving::kMaxReplicas)));
  }
  if (Status scaled = controller_->scale(name, static_cast<uint32_t>(replicas)); !scaled)
    return fail(scaled.error());
  net::JsonWriter w;
  w.object().field("name", name).field("replicas", replicas).end();
  return w.take();
}

Result<std::string> Daemon::remove_json(const net::ControlRequest& request) {
  std::string name(request.param("name"));
  std::optional<Nanos> drain;
  if (std::string_view given = request.query_or("drain_s", ""); !given.empty()) {
    Result<Nanos> parsed = drain_of(given);
    if (!parsed) return fail(parsed.error());
    drain = *parsed;
  }
  if (Status removed = controller_->remove(name, drain); !removed) return fail(removed.error());
  net::JsonWriter w;
  w.object().field("name", name).end();
  return w.take();
}

Result<std::string> Daemon::why_json(const std::string& name) {
  Result<serving::WhyReport> report = controller_->why(name);
  if (!report) {
    Error error = report.error();
    const std::vector<Slice> slices = devices_->broker().slices();
    if (std::ranges::find(slices, name, &Slice::id) != slices.end())
      error.hint = fmt::format(
          "{0} is a slice: see `tweendeck slices {0}` and `tweendeck events --subject {0}`", name);
    return fail(std::move(error));
  }
  net::JsonWriter w;
  write_why(w, *report);
  return w.take();
}

std::string Daemon::events_json(uint64_t since) {
  net::JsonWriter w;
  w.object().array("events");
  while (true) {
    std::vector<serving::Event> events = controller_->events(since, kMaxEventsPerAnswer);
    for (const serving::Event& event : events) write_event(w, event);
    if (events.size() < kMaxEventsPerAnswer) break;
    since = events.back().id;
  }
  w.end().end();
  return w.take();
}

Status Daemon::follow_events(uint64_t since, net::ControlStream& out) {
  while (!out.closed()) {
    std::vector<serving::Event> events = controller_->wait_events(since, kMaxEventsPerAnswer, kFollowStep);
    std::string lines;
    for (const serving::Event& event : events) {
      net::JsonWriter w;
      write_event(w, event);
      lines += w.text() + '\n';
      since = event.id;
    }
    if (!lines.empty() && !out.write(lines)) break;
  }
  return {};
}

Status Daemon::send_log(const net::ControlRequest& request, net::ControlStream& out) {
  Result<uint64_t> lines = request.query_number("tail", kMaxEventsPerAnswer);
  if (!lines) return fail(lines.error());
  Result<serving::LogReader> log = controller_->open_log(std::string(request.param("replica")));
  if (!log) return fail(log.error());
  Result<std::string> tail = log->tail(std::min<uint64_t>(*lines, serving::LogReader::kMaxTailLines));
  if (!tail) return fail(tail.error());
  out.set_content_type("text/plain; charset=utf-8");
  if (!out.write(*tail) || request.query_or("follow", "0") != "1") return {};
  while (!out.closed()) {
    Result<std::string> more = log->next();
    if (!more) return fail(more.error());
    if (more->empty())
      std::this_thread::sleep_for(kLogPollInterval);
    else if (!out.write(*more))
      break;
  }
  return {};
}

std::string Daemon::endpoints_json() {
  net::JsonWriter w;
  w.object().array("endpoints");
  for (const routing::Router::EndpointView& view : gateway_->endpoints()) write_endpoint(w, view);
  w.end().array("queues");
  for (const auto& queue : gateway_->queues()) {
    w.object().field("model", queue.model).field("waiting", uint64_t{queue.waiting}).end();
  }
  w.end().end();
  return w.take();
}

std::string Daemon::catalog_json() const {
  net::JsonWriter w;
  w.object().array("engines");
  for (const serving::EngineSpec& engine : catalog_->engines()) {
    Status installed = catalog_->installed(engine);
    w.object()
        .field("name", engine.name)
        .field("description", engine.description)
        .field("simulated", engine.simulated);
    w.field("installed", installed.has_value())
        .field("missing", installed ? "" : installed.error().message)
        .end();
  }
  w.end().array("models");
  for (const serving::ModelAlias& alias : catalog_->models().aliases) {
    w.object().field("name", alias.name).field("description", alias.description).end();
  }
  for (const std::string& name : catalog_->models().simulated_names) {
    w.object().field("name", name).field("description", "simulated").end();
  }
  w.end().end();
  return w.take();
}

Result<std::string> Daemon::take_request(DaemonRequest request) {
  {
    std::scoped_lock lock(request_mutex_);
    bool again = request_ && request_->kind == DaemonRequest::Kind::Down && request.kind == request_->kind;
    if (request_ && !again) return fail(is_stopping());
    request_ = request;
  }
  config_.on_request();
  net::JsonWriter w;
  w.object().field("pid", int64_t{getpid()}).field("deployments", uint64_t{controller_->list().size()});
  w.field("drain_s", static_cast<double>(request.drain) / static_cast<double>(kSecond));
  w.field("grace_s", static_cast<double>(stop_grace()) / static_cast<double>(kSecond)).end();
  return w.take();
}

}  // namespace tweendeck::daemon

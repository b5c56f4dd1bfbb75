#include "routing/gateway/core.h"

#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "base/log.h"
#include "base/text.h"
#include "routing/gateway/session.h"
#include "routing/gateway/upstream.h"

namespace tweendeck::routing::gateway {
namespace {

constexpr size_t kMaxOffersPerQueue = 64;  // of one round: bounds the work that one freed place causes
constexpr size_t kMaxHintedModels = 8;
// Connections above the limit that are answered instead of dropped.
constexpr size_t kTurnedAwayConnections = 64;

}  // namespace

Core::Core(GatewayConfig config_in, RouterConfig router_in, Registry& registry_in, const Clock& clock_in,
           GatewayEvents events_in, net::EventLoop& loop_in)
    : config(std::move(config_in)),
      router_config(router_in),
      registry(registry_in),
      clock(clock_in),
      events(std::move(events_in)),
      loop(loop_in),
      router(router_in),
      metrics(registry_in) {}

Core::~Core() = default;

// --- connections

void Core::accept(net::Fd fd) {
  if (draining_ || sessions_.size() >= config.max_connections + kTurnedAwayConnections) return;
  auto session = std::make_unique<Session>(*this, config.input_buffer_bytes);
  if (!session->open(std::move(fd))) return;
  if (sessions_.size() >= config.max_connections) {
    session->turn_away(
        {Reason::Overloaded, fmt::format("{} connections are open", config.max_connections), ""});
  }
  Session* key = session.get();
  sessions_.emplace(key, std::move(session));
  metrics.accepted.add();
  metrics.connections.set(static_cast<double>(sessions_.size()));
}

void Core::forget(Session* session) {
  auto node = sessions_.extract(session);
  if (!node.empty()) loop.retire(std::move(node.mapped()));
  metrics.connections.set(static_cast<double>(sessions_.size()));
}

void Core::forget(Upstream* upstream) {
  auto node = upstreams_.extract(upstream);
  if (!node.empty()) loop.retire(std::move(node.mapped()));
}

void Core::begin_drain() {
  draining_ = true;
  std::vector<Session*> all;
  for (auto& [session, owned] : sessions_) all.push_back(session);
  for (Session* session : all) session->begin_drain();
}

void Core::close_all() {
  while (!sessions_.empty()) sessions_.begin()->first->close();
  for (auto& [id, entry] : endpoints_) {
    loop.cancel(entry->pause_timer);
    close_idle(*entry);
  }
  while (!upstreams_.empty()) upstreams_.begin()->first->close();
}

void Core::sweep() {
  Nanos at = now();
  std::vector<Session*> all;
  all.reserve(sessions_.size());
  for (auto& [session, owned] : sessions_) all.push_back(session);
  // Closing one may close others' queue places but never frees a session before the loop's next turn.
  for (Session* session : all) session->check_deadline(at);
  for (auto& [id, entry] : endpoints_) {
    while (!entry->idle.empty() && entry->idle.front()->idle_since + config.pool_idle_timeout <= at) {
      Upstream* oldest = entry->idle.front();
      entry->idle.erase(entry->idle.begin());
      oldest->close();
    }
  }
  offered_at_change_ = router.changed() - 1;  // some holds end by time alone
  drain_queues();
}

// --- requests

void Core::submit(Session& session, std::string_view exclude) {
  if (offer(session, exclude)) return;
  Queue& queue = queues_[session.model()];
  if (queue.size() >= config.max_queue_per_model) {
    return session.refused(
        {Reason::QueueFull,
         fmt::format("{} for {} wait already", counted(queue.size(), "request"), session.model()),
         "try again, or add replicas"});
  }
  session.queue_place = queue.insert(queue.end(), &session);
  session.queued = true;
  ++queued_;
  metrics.model(session.model()).waiting->set(static_cast<double>(queue.size()));
}

bool Core::offer(Session& session, std::string_view exclude) {
  const Request& request = session.request();
  routing::Request wanted;
  wanted.model = session.model();
  wanted.prefix = request.prefix;
  wanted.prompt_tokens = request.prompt_tokens;
  wanted.max_output_tokens = request.scanner.max_output_tokens();
  wanted.exclude = exclude;
  Pick pick = router.pick(wanted, now());
  if (pick.kind == Pick::Kind::Refuse && !exclude.empty()) {
    // No other replica: wait for the failed one, or try it once more.
    wanted.exclude = {};
    pick = router.pick(wanted, now());
  }
  if (pick.reason != Reason::UnknownModel) session.know_model(metrics.model(session.model()));
  if (pick.kind == Pick::Kind::Hold) {
    session.held(pick.reason);
    return false;
  }
  leave_queue(session);
  if (pick.kind == Pick::Kind::Refuse) {
    bool unknown = pick.reason == Reason::UnknownModel;
    session.refused({pick.reason,
                     unknown ? fmt::format("no deployment serves model {}", json_quote(session.model()))
                             : fmt::format("no replica of {} can take requests now", session.model()),
                     unknown ? model_hint() : "see `tweendeck ps` and `tweendeck why`"});
    return true;
  }
  auto entry = endpoints_.find(pick.endpoint_id);
  if (entry == endpoints_.end()) {
    router.finished(pick.ticket, false, 0, 0, now());
    session.refused(
        {Reason::Internal, fmt::format("routing chose the unknown replica {}", pick.endpoint_id), ""});
    return true;
  }
  entry->second->in_flight_gauge->set(++entry->second->in_flight);
  session.dispatched(entry->second, std::move(pick));
  return true;
}

void Core::leave_queue(Session& session) {
  if (!session.queued) return;
  session.queued = false;
  --queued_;
  Queue& queue = queues_[session.model()];
  queue.erase(session.queue_place);
  metrics.model(session.model()).waiting->set(static_cast<double>(queue.size()));
}

void Core::finish(EndpointEntry& entry, Ticket ticket, bool ok, uint64_t prompt_tokens,
                  uint64_t output_tokens) {
  entry.in_flight_gauge->set(--entry.in_flight);
  router.finished(ticket, ok, prompt_tokens, output_tokens, now());
  drain_queues();
}

void Core::drain_queues() {
  if (queued_ == 0 || draining_queues_ || router.changed() == offered_at_change_) return;
  draining_queues_ = true;
  for (auto queue = queues_.begin(); queue != queues_.end();) {
    size_t offers = 0;
    for (auto it = queue->second.begin(); it != queue->second.end() && offers < kMaxOffersPerQueue;
         ++offers) {
      Session* session = *it++;
      offer(*session, {});
    }
    queue = queue->second.empty() ? queues_.erase(queue) : std::next(queue);
  }
  offered_at_change_ = router.changed();
  draining_queues_ = false;
}

void Core::endpoint_failed(const std::shared_ptr<EndpointEntry>& entry, const Error& error, bool connecting) {
  const std::string& id = entry->endpoint.id;
  if (!entry->removed) metrics.upstream_errors(id, error.reason).add();
  if (!connecting || entry->removed || entry->pause_timer != 0 ||
      entry->endpoint.state != EndpointState::Ready)
    return;
  // Nothing listens there. Until the daemon knows more, requests treat it as one that is starting: they go
  // elsewhere or wait.
  Endpoint paused = entry->endpoint;
  paused.state = EndpointState::Starting;
  router.upsert(paused);
  entry->pause_timer = loop.after(config.failed_endpoint_pause, [this, id] { resume(id); });
}

void Core::lost_request(const EndpointEntry& by, const Error& error, RequestFate fate,
                        const std::string& retried_on) {
  if (events.on_lost_request) events.on_lost_request({by.endpoint.id, error, fate, retried_on});
}

void Core::resume(const std::string& id) {
  auto found = endpoints_.find(id);
  if (found == endpoints_.end()) return;
  found->second->pause_timer = 0;
  router.upsert(found->second->endpoint);
  drain_queues();
}

Upstream* Core::connection(const std::shared_ptr<EndpointEntry>& entry, bool fresh) {
  if (!fresh && !entry->idle.empty()) {
    Upstream* kept = entry->idle.back();
    entry->idle.pop_back();
    return kept;
  }
  auto made = std::make_unique<Upstream>(*this, entry);
  Upstream* upstream = made.get();
  upstreams_.emplace(upstream, std::move(made));
  upstream->connect();
  return upstream;
}

void Core::keep_idle(Upstream* upstream) {
  EndpointEntry& entry = *upstream->entry();
  if (entry.removed || entry.idle.size() >= config.max_idle_per_endpoint) return upstream->close();
  upstream->idle_since = now();
  entry.idle.push_back(upstream);
}

void Core::leave_idle(Upstream* upstream) {
  std::erase(upstream->entry()->idle, upstream);
}

bool Core::try_hold(size_t bytes) {
  if (held_bytes_ + bytes > config.max_total_hold_bytes) return false;
  held_bytes_ += bytes;
  metrics.held_bytes.set(static_cast<double>(held_bytes_));
  return true;
}

void Core::release_hold(size_t bytes) {
  if (bytes == 0) return;
  held_bytes_ -= bytes;
  metrics.held_bytes.set(static_cast<double>(held_bytes_));
}

// --- endpoints

void Core::publish(const Endpoint& endpoint) {
  std::shared_ptr<EndpointEntry>& entry = endpoints_[endpoint.id];
  bool moved = entry != nullptr &&
               (entry->endpoint.port != endpoint.port || entry->endpoint.address != endpoint.address);
  if (moved) {
    // Another process: connections to the old one are of no use, and its cache is gone.
    entry->removed = true;
    close_idle(*entry);
    loop.cancel(entry->pause_timer);
    entry = std::make_shared<EndpointEntry>();
    router.clear_cache(endpoint.id);
  }
  if (entry == nullptr) entry = std::make_shared<EndpointEntry>();
  loop.cancel(std::exchange(entry->pause_timer, 0));
  entry->endpoint = endpoint;
  entry->host_field = fmt::format("Host: {}:{}\r\n", endpoint.address, endpoint.port);
  entry->served_model_json = json_quote(endpoint.served_model);
  entry->in_flight_gauge = &metrics.in_flight(endpoint.id);
  int64_t wall_s = clock.wall_now() / kSecond;
  for (const std::string& model : endpoint.models) model_since_s_.try_emplace(model, wall_s);
  router.upsert(endpoint);
  drain_queues();
}

void Core::remove(const std::string& id) {
  auto found = endpoints_.find(id);
  if (found == endpoints_.end()) return;
  found->second->removed = true;
  loop.cancel(found->second->pause_timer);
  close_idle(*found->second);
  endpoints_.erase(found);
  metrics.forget_replica(id);
  router.remove(id);
  std::vector<std::string> left = router.models();
  std::erase_if(model_since_s_,
                [&](const auto& known) { return !std::ranges::binary_search(left, known.first); });
  drain_queues();
}

void Core::close_idle(EndpointEntry& entry) {
  for (Upstream* upstream : std::exchange(entry.idle, {})) upstream->close();
}

void Core::set_load(const std::string& id, const EndpointLoad& load) {
  router.set_load(id, load, now());
  drain_queues();
}

uint32_t Core::in_flight(const std::string& id) const {
  auto found = endpoints_.find(id);
  return found == endpoints_.end() ? 0 : found->second->in_flight;
}

std::vector<Gateway::QueueView> Core::queues() const {
  std::vector<Gateway::QueueView> out;
  for (const auto& [model, queue] : queues_) out.push_back({model, queue.size()});
  return out;
}

std::vector<ModelEntry> Core::models() const {
  std::vector<ModelEntry> out;
  for (const std::string& model : router.models()) {
    auto since = model_since_s_.find(model);
    out.push_back({model, since == model_since_s_.end() ? 0 : since->second});
  }
  return out;
}

std::string Core::model_hint() const {
  std::vector<std::string> names = router.models();
  if (names.empty()) return "nothing is served; start with `tweendeck serve MODEL`";
  bool more = names.size() > kMaxHintedModels;
  if (more) names.resize(kMaxHintedModels);
  return fmt::format("served here: {}{}", join(names, ", "), more ? ", ..." : "");
}

}  // namespace tweendeck::routing::gateway

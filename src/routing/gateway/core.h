// What the gateway's connections share: the Router, the endpoints with their connection pools, the queues,
// the budget for held bytes. Loop thread only.
#pragma once

#include <list>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "net/event_loop.h"
#include "net/tls.h"
#include "routing/gateway/answers.h"
#include "routing/gateway/auth.h"
#include "routing/gateway/gateway.h"
#include "routing/gateway/metrics.h"
#include "routing/router.h"

namespace tweendeck::routing::gateway {

class Session;
class Upstream;

// One endpoint as the gateway sees it. Requests in flight keep it alive after remove().
struct EndpointEntry {
  Endpoint endpoint;
  std::string host_field;         // "Host: 127.0.0.1:8001\r\n"
  std::string served_model_json;  // with quotes
  std::vector<Upstream*> idle;    // kept-alive connections, the most recently used last
  uint32_t in_flight = 0;
  Gauge* in_flight_gauge = nullptr;
  bool removed = false;
  net::EventLoop::TimerId pause_timer = 0;  // not 0: failed a moment ago, shown to the router as starting
};

class Core {
 public:
  Core(GatewayConfig config, RouterConfig router, Registry& registry, const Clock& clock,
       GatewayEvents events, net::EventLoop& loop);
  ~Core();

  // Connections.
  void accept(net::Fd fd);
  void forget(Session* session);  // at its end; destroys it after the current event
  void forget(Upstream* upstream);
  void begin_drain();  // idle connections close, others after their request
  void close_all();
  bool draining() const { return draining_; }
  void refuse_new() { refusing_ = true; }  // connections stay welcome, new requests for replicas do not
  bool refusing() const { return refusing_ || draining_; }
  size_t session_count() const { return sessions_.size(); }

  // Requests. submit() ends in Session::dispatched, ::held or ::refused.
  void submit(Session& session, std::string_view exclude);
  void leave_queue(Session& session);
  // Ends a dispatched request's account.
  void finish(EndpointEntry& entry, Ticket ticket, bool ok, uint64_t prompt_tokens, uint64_t output_tokens);
  void endpoint_failed(const std::shared_ptr<EndpointEntry>& entry, const Error& error, bool connecting);
  void lost_request(const EndpointEntry& by, const Error& error, RequestFate fate,
                    const std::string& retried_on = {});
  // A connection to the endpoint: kept alive from before (unless `fresh`), or new.
  Upstream* connection(const std::shared_ptr<EndpointEntry>& entry, bool fresh);
  void keep_idle(Upstream* upstream);
  void leave_idle(Upstream* upstream);
  bool try_hold(size_t bytes);
  void release_hold(size_t bytes);

  // Endpoints.
  void publish(const Endpoint& endpoint);
  void remove(const std::string& id);
  void set_load(const std::string& id, const EndpointLoad& load);
  uint32_t in_flight(const std::string& id) const;
  std::vector<Gateway::QueueView> queues() const;
  std::vector<ModelEntry> models() const;
  std::string model_hint() const;  // "served here: a, b"

  Nanos now() const { return clock.now(); }
  void drain_queues();  // offers waiting requests again when the router has changed
  void sweep();         // timeouts; called every config.sweep_interval

  const GatewayConfig config;
  const RouterConfig router_config;
  Registry& registry;
  const Clock& clock;
  const GatewayEvents events;
  net::EventLoop& loop;
  Router router;
  GatewayMetrics metrics;
  ApiKeys keys;
  std::shared_ptr<net::TlsContext> tls;

 private:
  using Queue = std::list<Session*>;
  bool offer(Session& session, std::string_view exclude);  // false: it must wait
  void resume(const std::string& id);
  void close_idle(EndpointEntry& entry);

  bool draining_ = false;
  bool refusing_ = false;
  size_t held_bytes_ = 0;
  uint64_t offered_at_change_ = 0;
  size_t queued_ = 0;
  bool draining_queues_ = false;
  std::unordered_map<std::string, std::shared_ptr<EndpointEntry>> endpoints_;
  std::unordered_map<std::string, int64_t> model_since_s_;
  std::map<std::string, Queue> queues_;
  std::unordered_map<Session*, std::unique_ptr<Session>> sessions_;
  std::unordered_map<Upstream*, std::unique_ptr<Upstream>> upstreams_;
};

}  // namespace tweendeck::routing::gateway

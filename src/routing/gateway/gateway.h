// The HTTP gateway: takes OpenAI-style requests, asks the Router which replica gets each, and passes bytes
// both ways.
//
// One event loop on one thread owns the Router and every connection: no locks on the request path. All public
// functions are safe from any thread; they hand their work to the loop. Callbacks run on the loop and must
// not block nor call back in a waiting function. Prompts, completions and keys are never logged or stored.
//
// Life of a request: head and body are read (a body over max_hold_bytes is passed on while it arrives) ->
// pick() -> dispatched, held in its model's queue, or refused -> answer bytes pass through unbuffered. Until
// the first byte of the answer it can be sent again, once, to another replica.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/metrics.h"
#include "base/result.h"
#include "base/types.h"
#include "net/event_loop.h"
#include "routing/gateway/config.h"
#include "routing/router.h"

namespace tweendeck::routing::gateway {

// What became of a request whose connection to a replica failed, timed out or broke.
enum class RequestFate : uint8_t {
  Retried,  // another replica has it, or the same one by a new connection
  Waiting,  // it waits in its model's queue for a replica
  Failed,   // its client got an error
  Cut,      // the answer had begun: its client got a part of it
};

// One request lost by a replica, for the record of the replica's life.
struct LostRequest {
  const std::string& endpoint_id;
  const Error& error;
  RequestFate fate;
  const std::string& retried_on;  // a replica when fate is Retried, else ""
};

struct GatewayEvents {
  std::function<void(const LostRequest&)> on_lost_request;
};

class Gateway {
 public:
  Gateway(GatewayConfig config, RouterConfig router, Registry& registry, const Clock& clock,
          GatewayEvents events = {});
  ~Gateway();  // stop(0)

  // Whether start() would succeed now: keys, certificates, address. `ours` is an address that is about to
  // become free. Errors: those of start().
  static Status check(const GatewayConfig& config, const std::optional<net::Address>& ours);

  // Reads keys and certificates, listens, starts the thread. Errors: InvalidArgument, AlreadyExists (address
  // in use), PermissionDenied, NotFound.
  Status start();
  // From now on /readyz is not ready and new requests are refused with ShuttingDown; those that are here go
  // on.
  void refuse_new();
  // From now on no new connections or requests; requests in flight get up to `limit`, then they are cut. What
  // asks the gateway is answered as before. This, the next two and start() belong to one thread.
  void begin_drain(Nanos limit);
  bool wait_drained(Nanos timeout);  // whether the drain has ended; waits at most so long for it
  // Drains, waits until it has, ends the thread. Idempotent.
  void stop(Nanos drain);
  uint16_t port() const;  // the one that listen.port = 0 took

  void publish(const Endpoint& endpoint);       // adds or updates
  void remove(const std::string& endpoint_id);  // its requests in flight go on
  void set_load(const std::string& endpoint_id, const EndpointLoad& load);
  void clear_cache(const std::string& endpoint_id);  // the replica lost its prefix cache

  uint32_t in_flight(const std::string& endpoint_id);  // waits for the loop
  std::vector<Router::EndpointView> endpoints();       // waits for the loop

  struct QueueView {
    std::string model;
    size_t waiting = 0;
  };
  std::vector<QueueView> queues();  // waits for the loop

  // For adapters that share the loop, such as the metrics scraper. Valid from construction to destruction.
  net::EventLoop& loop();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tweendeck::routing::gateway

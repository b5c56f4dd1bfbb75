// The endpoint picker: an ext_proc server that tells Envoy, or another gateway with the endpoint-picker protocol,
// which endpoint gets each request.
//
// One event loop on one thread owns the Router and every stream. All public functions are safe from any thread.
// Prompts and answers pass through and are never logged or stored.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/clock.h"
#include "base/metrics.h"
#include "base/result.h"
#include "base/types.h"
#include "net/event_loop.h"
#include "routing/picker/config.h"
#include "routing/router.h"

namespace tweendeck::routing::picker {

class Picker {
 public:
  Picker(PickerConfig config, RouterConfig router, Registry& registry, const Clock& clock);
  ~Picker();  // stop(0)

  // Reads certificates, listens, starts the thread. Errors: InvalidArgument, AlreadyExists (address in use),
  // PermissionDenied, NotFound.
  Status start();
  // Health says no, clients are told to go elsewhere; requests that are here get up to `limit`. Then ends the
  // thread. Idempotent.
  void stop(Nanos limit);

  void set_endpoints(std::vector<Endpoint> endpoints);
  void set_load(const std::string& endpoint_id, const EndpointLoad& load);

  uint16_t port() const;  // those that port 0 took
  uint16_t health_port() const;
  uint16_t metrics_port() const;
  net::EventLoop& loop();  // for adapters that share it; valid from construction to destruction

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace tweendeck::routing::picker

// The replicas as they are published to the gateway and to the scraper of their load. Replicas are adopted
// before the gateway listens, so the board keeps them until it does. Safe from any thread.
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <string>

#include "routing/gateway/gateway.h"
#include "routing/sources/metrics_scraper.h"

namespace tweendeck::daemon {

class EndpointBoard {
 public:
  // What an engine calls its load in its metrics.
  using NamesOf = std::function<routing::sources::MetricNames(const std::string& engine)>;

  void publish(const Endpoint& endpoint);
  void remove(const std::string& endpoint_id);
  uint32_t in_flight(const std::string& endpoint_id);

  // From now on everything reaches both; they must run until disconnect().
  void connect(routing::gateway::Gateway& gateway, routing::sources::MetricsScraper& scraper,
               NamesOf names_of);
  void disconnect();

 private:
  void pass_on(const Endpoint& endpoint);

  std::mutex mutex_;
  std::map<std::string, Endpoint> endpoints_;
  routing::gateway::Gateway* gateway_ = nullptr;
  routing::sources::MetricsScraper* scraper_ = nullptr;
  NamesOf names_of_;
};

}  // namespace tweendeck::daemon

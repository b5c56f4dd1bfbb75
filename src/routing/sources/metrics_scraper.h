// Asks each endpoint's /metrics at an interval and reports its load. Runs on an EventLoop that others share
// (the gateway's), without blocking it. Memory per scrape is bounded.
//
//   MetricsScraper scraper(gateway.loop(), registry, {}, [&](auto& id, auto& load) { gateway.set_load(id,
//   load); }); scraper.set_target({"chat-1", "127.0.0.1", 8001, "/metrics", names}); scraper.start();   //
//   after gateway.start(); destroy or stop() the scraper before the gateway is stopped
//
// All public functions are safe from any thread. on_load runs on the loop; a failed scrape reports a load of
// which nothing is known.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "base/clock.h"
#include "base/metrics.h"
#include "base/types.h"
#include "net/event_loop.h"
#include "routing/sources/prometheus_text.h"

namespace tweendeck::routing::sources {

struct ScraperConfig {
  // The router keeps its own account and reports only correct it, so seldom is enough; and llama.cpp notices
  // that the client of an unstreamed answer is gone only in a second without any other result, a scrape
  // included.
  Nanos interval = 2 * kSecond;
  Nanos timeout = 2 * kSecond;
  size_t max_page_bytes = 1 << 20;
};

struct ScrapeTarget {
  std::string id;
  std::string address;
  uint16_t port = 0;
  std::string path;
  MetricNames names;
};

class MetricsScraper {
 public:
  using OnLoad = std::function<void(const std::string& id, const EndpointLoad& load)>;

  MetricsScraper(net::EventLoop& loop, Registry& registry, ScraperConfig config, OnLoad on_load);
  ~MetricsScraper();  // stop()

  void start();
  void stop();                                  // waits until no scrape is under way
  void set_target(const ScrapeTarget& target);  // adds or replaces
  void remove_target(const std::string& id);

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

}  // namespace tweendeck::routing::sources

// The gateway's metric series, looked up once and kept. Names: tweendeck_gateway_*. Loop thread only.
#pragma once

#include <string>
#include <string_view>
#include <unordered_map>
#include <utility>
#include <vector>

#include "base/metrics.h"
#include "base/reason.h"

namespace tweendeck::routing::gateway {

struct ModelMetrics {
  Counter* requests_of(int status);

  Registry* registry;
  std::string model;
  Histogram* duration;
  Histogram* first_byte;
  Histogram* queued;
  Gauge* waiting;
  Counter* retries;
  Counter* aborts;
  Counter* prompt_tokens;
  Counter* output_tokens;
  Counter* cached_tokens;
  std::vector<std::pair<int, Counter*>> by_status;
};

class GatewayMetrics {
 public:
  explicit GatewayMetrics(Registry& registry);

  // `model` is a name that some endpoint answers to, never a client's invention: "" stands for unknown ones.
  ModelMetrics& model(std::string_view model);
  Counter& refused(Reason reason);
  Counter& upstream_errors(const std::string& replica, Reason reason);
  Gauge& in_flight(const std::string& replica);
  void forget_replica(const std::string& replica);

  Gauge& connections;
  Gauge& held_bytes;
  Counter& accepted;

 private:
  Registry& registry_;
  std::unordered_map<std::string, ModelMetrics> models_;
};

}  // namespace tweendeck::routing::gateway

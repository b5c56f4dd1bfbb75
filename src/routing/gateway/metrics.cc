#include "routing/gateway/metrics.h"

namespace tweendeck::routing::gateway {

GatewayMetrics::GatewayMetrics(Registry& registry)
    : connections(registry.gauge("tweendeck_gateway_connections", "Open client connections.")),
      held_bytes(registry.gauge("tweendeck_gateway_held_bytes",
                                "Request bytes kept so that they can be sent again.")),
      accepted(
          registry.counter("tweendeck_gateway_accepted_connections_total", "Client connections accepted.")),
      registry_(registry) {}

ModelMetrics& GatewayMetrics::model(std::string_view model) {
  std::string name(model);
  auto found = models_.find(name);
  if (found != models_.end()) return found->second;
  Labels labels{{"model", name}};
  ModelMetrics made{};
  made.registry = &registry_;
  made.model = name;
  made.duration = &registry_.histogram("tweendeck_gateway_request_duration_seconds",
                                       "From a request's head to the last byte of its answer.",
                                       latency_buckets_seconds(), labels);
  made.first_byte = &registry_.histogram("tweendeck_gateway_time_to_first_byte_seconds",
                                         "From a request's head to the first byte of the replica's answer.",
                                         latency_buckets_seconds(), labels);
  made.queued = &registry_.histogram("tweendeck_gateway_queue_duration_seconds",
                                     "Waiting for a replica, of requests that had to wait.",
                                     latency_buckets_seconds(), labels);
  made.waiting =
      &registry_.gauge("tweendeck_gateway_queue_requests", "Requests that wait for a replica.", labels);
  made.retries = &registry_.counter("tweendeck_gateway_retries_total",
                                    "Requests sent again after a replica failed before its answer.", labels);
  made.aborts = &registry_.counter("tweendeck_gateway_client_aborts_total",
                                   "Requests whose client left before the answer was complete.", labels);
  made.prompt_tokens = &registry_.counter("tweendeck_gateway_prompt_tokens_total",
                                          "Prompt tokens as the engines told.", labels);
  made.output_tokens = &registry_.counter("tweendeck_gateway_output_tokens_total",
                                          "Generated tokens as the engines told.", labels);
  made.cached_tokens =
      &registry_.counter("tweendeck_gateway_expected_cached_tokens_total",
                         "Prompt tokens that routing expected in the replica's cache.", labels);
  return models_.emplace(std::move(name), std::move(made)).first->second;
}

Counter* ModelMetrics::requests_of(int status) {
  for (auto& [known, counter] : by_status) {
    if (known == status) return counter;
  }
  Counter& counter =
      registry->counter("tweendeck_gateway_requests_total", "Requests by model and HTTP status.",
                        {{"code", std::to_string(status)}, {"model", model}});
  by_status.emplace_back(status, &counter);
  return &counter;
}

Counter& GatewayMetrics::refused(Reason reason) {
  return registry_.counter("tweendeck_gateway_refused_total",
                           "Requests that the gateway answered with an error.",
                           {{"reason", std::string(to_string(reason))}});
}

Counter& GatewayMetrics::upstream_errors(const std::string& replica, Reason reason) {
  return registry_.counter("tweendeck_gateway_upstream_errors_total", "Failed connections to replicas.",
                           {{"reason", std::string(to_string(reason))}, {"replica", replica}});
}

Gauge& GatewayMetrics::in_flight(const std::string& replica) {
  return registry_.gauge("tweendeck_gateway_in_flight_requests", "Requests in flight on a replica.",
                         {{"replica", replica}});
}

void GatewayMetrics::forget_replica(const std::string& replica) {
  registry_.remove("replica", replica);
}

}  // namespace tweendeck::routing::gateway

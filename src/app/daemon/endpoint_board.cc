#include "app/daemon/endpoint_board.h"

namespace tweendeck::daemon {

void EndpointBoard::pass_on(const Endpoint& endpoint) {
  if (gateway_ == nullptr) return;
  gateway_->publish(endpoint);
  bool answers =
      endpoint.port != 0 && endpoint.state != EndpointState::Starting && !endpoint.metrics_path.empty();
  if (answers) {
    scraper_->set_target({.id = endpoint.id,
                          .address = endpoint.address,
                          .port = endpoint.port,
                          .path = endpoint.metrics_path,
                          .names = names_of_(endpoint.engine)});
  } else {
    scraper_->remove_target(endpoint.id);
  }
}

void EndpointBoard::publish(const Endpoint& endpoint) {
  std::scoped_lock lock(mutex_);
  endpoints_[endpoint.id] = endpoint;
  pass_on(endpoint);
}

void EndpointBoard::remove(const std::string& endpoint_id) {
  std::scoped_lock lock(mutex_);
  endpoints_.erase(endpoint_id);
  if (gateway_ == nullptr) return;
  gateway_->remove(endpoint_id);
  scraper_->remove_target(endpoint_id);
}

uint32_t EndpointBoard::in_flight(const std::string& endpoint_id) {
  std::scoped_lock lock(mutex_);
  return gateway_ == nullptr ? 0 : gateway_->in_flight(endpoint_id);
}

void EndpointBoard::connect(routing::gateway::Gateway& gateway, routing::sources::MetricsScraper& scraper,
                            NamesOf names_of) {
  std::scoped_lock lock(mutex_);
  gateway_ = &gateway;
  scraper_ = &scraper;
  names_of_ = std::move(names_of);
  for (const auto& [id, endpoint] : endpoints_) pass_on(endpoint);
}

void EndpointBoard::disconnect() {
  std::scoped_lock lock(mutex_);
  gateway_ = nullptr;
  scraper_ = nullptr;
}

}  // namespace tweendeck::daemon

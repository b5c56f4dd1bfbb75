// For the gateway's tests: a gateway on a free port, what its clients send, and the story of what it lost.
#pragma once

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "net/json.h"
#include "routing/gateway/gateway.h"
#include "routing/gateway/scripted.h"

namespace tweendeck::routing::gateway {

inline std::string post(std::string_view body, std::string_view path = "/v1/chat/completions",
                        std::string_view fields = "") {
  return fmt::format(
      "POST {} HTTP/1.1\r\nHost: gw\r\nContent-Type: application/json\r\n{}Content-Length: {}\r\n\r\n{}",
      path, fields, body.size(), body);
}
inline const std::string kBody = R"({"model":"m","messages":[{"role":"user","content":"hi"}]})";

inline std::string body_of(const std::string& message) {
  return message.substr(message.find("\r\n\r\n") + 4);
}
inline std::string code_of(const std::string& message) {
  auto json = net::parse_json(body_of(message));
  return json ? std::string((*json)["error"]["code"].text_or("")) : "no JSON: " + message;
}

class Flag {
 public:
  void set() {
    std::lock_guard lock(mutex_);
    set_ = true;
    changed_.notify_all();
  }
  bool wait() {
    std::unique_lock lock(mutex_);
    return changed_.wait_for(lock, std::chrono::seconds(20), [&] { return set_; });
  }

 private:
  std::mutex mutex_;
  std::condition_variable changed_;
  bool set_ = false;
};

class GatewayTest : public testing::Test {
 protected:
  GatewayTest() {
    config_.listen.port = 0;
    config_.sweep_interval = 5 * kMillisecond;
    config_.failed_endpoint_pause = 30 * kMillisecond;
  }
  ~GatewayTest() override {
    if (gateway_) gateway_->stop(0);
  }
  void start() {
    GatewayEvents events;
    events.on_lost_request = [this](const LostRequest& lost) {
      constexpr const char* kFates[] = {"retried on", "waiting", "failed", "cut"};
      std::lock_guard lock(mutex_);
      story_.push_back(fmt::format("{} {} {} {}", lost.endpoint_id, to_string(lost.error.reason),
                                   kFates[static_cast<size_t>(lost.fate)], lost.retried_on));
    };
    gateway_ = std::make_unique<Gateway>(config_, router_, registry_, clock_, events);
    auto ok = gateway_->start();
    ASSERT_TRUE(ok) << ok.error().message;
  }
  Endpoint endpoint(const std::string& id, uint16_t port) {
    Endpoint e;
    e.id = id;
    e.deployment = "d";
    e.address = "127.0.0.1";
    e.port = port;
    e.models = {"m"};
    e.served_model = "m";
    e.state = EndpointState::Ready;
    return e;
  }
  Wire client() { return Wire::connect(gateway_->port()); }
  std::string ask(std::string_view request) {
    Wire wire = client();
    wire.send(request);
    return wire.read_message();
  }
  std::vector<std::string> story() {
    std::lock_guard lock(mutex_);
    return story_;
  }
  template <class Condition>
  bool eventually(Condition condition) {
    for (int i = 0; i < 20'000; ++i) {
      if (condition()) return true;
      ::usleep(1000);
    }
    return false;
  }

  GatewayConfig config_;
  RouterConfig router_;
  Registry registry_;
  SystemClock clock_;
  std::mutex mutex_;
  std::vector<std::string> story_;
  std::unique_ptr<Gateway> gateway_;
};

}  // namespace tweendeck::routing::gateway

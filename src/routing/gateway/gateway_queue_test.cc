// Requests that no replica can take now: held, refused, in their order.
#include "routing/gateway/gateway_testing.h"

namespace tweendeck::routing::gateway {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

TEST_F(GatewayTest, ARequestForAStartingReplicaIsHeld) {
  ScriptedReplica replica(ScriptedReplica::echo);
  start();
  Endpoint e = endpoint("r-1", replica.port);
  e.state = EndpointState::Starting;
  gateway_->publish(e);
  Wire wire = client();
  wire.send(post(kBody));
  ASSERT_TRUE(eventually([&] {
    auto queues = gateway_->queues();
    return queues.size() == 1 && queues[0].waiting == 1;
  }));
  e.state = EndpointState::Ready;
  gateway_->publish(e);
  EXPECT_EQ(body_of(wire.read_message()), kBody);
}

TEST_F(GatewayTest, WaitingHasADeadlineAndARoom) {
  config_.queue_timeout = 100 * kMillisecond;
  config_.max_queue_per_model = 2;
  start();
  Endpoint e = endpoint("r-1", 1);
  e.state = EndpointState::Starting;
  gateway_->publish(e);
  Wire a = client(), b = client();
  a.send(post(kBody));
  b.send(post(kBody));
  ASSERT_TRUE(eventually([&] {
    auto queues = gateway_->queues();
    return queues.size() == 1 && queues[0].waiting == 2;
  }));
  std::string full = ask(post(kBody));
  EXPECT_THAT(full, StartsWith("HTTP/1.1 429 "));
  EXPECT_THAT(full, HasSubstr("Retry-After: 1\r\n"));
  EXPECT_EQ(code_of(full), "QueueFull");
  std::string late = a.read_message();
  EXPECT_THAT(late, StartsWith("HTTP/1.1 503 "));
  EXPECT_EQ(code_of(late), "Starting");
  EXPECT_EQ(code_of(b.read_message()), "Starting");
}

TEST_F(GatewayTest, ABusyReplicaTakesRequestsInTheirOrder) {
  std::vector<std::string> order;
  Flag go;
  ScriptedReplica replica([&](Wire& wire) {
    while (true) {
      std::string request = wire.read_message();
      if (request.empty()) return;
      if (order.empty()) EXPECT_TRUE(go.wait());
      order.push_back(body_of(request));
      wire.send(ok_answer("{}"));
    }
  });
  start();
  Endpoint e = endpoint("r-1", replica.port);
  e.max_in_flight = 1;
  gateway_->publish(e);
  std::vector<Wire> wires;
  std::vector<std::string> bodies;
  for (int i = 0; i < 6; ++i) {
    bodies.push_back(fmt::format(R"({{"model":"m","prompt":"{}"}})", i));
    wires.push_back(client());
    wires.back().send(post(bodies.back()));
    size_t waiting = static_cast<size_t>(i);
    ASSERT_TRUE(eventually([&] {
      auto queues = gateway_->queues();
      return gateway_->in_flight("r-1") == 1 && (queues.empty() ? 0 : queues[0].waiting) == waiting;
    }));
  }
  go.set();
  for (Wire& wire : wires) EXPECT_EQ(body_of(wire.read_message()), "{}");
  EXPECT_EQ(order, bodies);
}

TEST_F(GatewayTest, AWaitingClientThatLeavesFreesItsPlace) {
  start();
  Endpoint e = endpoint("r-1", 1);
  e.state = EndpointState::Starting;
  gateway_->publish(e);
  Wire wire = client();
  wire.send(post(kBody));
  auto waiting = [&] {
    auto queues = gateway_->queues();
    return queues.empty() ? size_t{0} : queues[0].waiting;
  };
  ASSERT_TRUE(eventually([&] { return waiting() == 1; }));
  wire.close();
  EXPECT_TRUE(eventually([&] { return waiting() == 0; }));
}

TEST_F(GatewayTest, NoEndpointIs503) {
  start();
  Endpoint e = endpoint("r-1", 1);
  e.state = EndpointState::Unhealthy;
  gateway_->publish(e);
  std::string answer = ask(post(kBody));
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 503 "));
  EXPECT_THAT(answer, HasSubstr("Retry-After"));
  EXPECT_EQ(code_of(answer), "NoEndpoint");
  gateway_->remove("r-1");
  EXPECT_TRUE(eventually([&] { return code_of(ask(post(kBody))) == "UnknownModel"; }));
}

}  // namespace
}  // namespace tweendeck::routing::gateway

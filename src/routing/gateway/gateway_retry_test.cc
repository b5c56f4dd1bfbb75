// What happens to a request whose replica or client goes away.
#include "routing/gateway/gateway_testing.h"

namespace tweendeck::routing::gateway {
namespace {

using testing::AllOf;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

TEST_F(GatewayTest, AClientsAbortReachesTheReplica) {
  Flag got, ended;
  ScriptedReplica replica([&](Wire& wire) {
    wire.read_message();
    got.set();
    wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
    if (wire.closed_by_peer()) ended.set();
  });
  start();
  gateway_->publish(endpoint("r-1", replica.port));
  Wire streaming = client();
  streaming.send(post(kBody));
  streaming.read_until("hello\r\n");
  streaming.close();
  EXPECT_TRUE(ended.wait());
  EXPECT_TRUE(eventually([&] { return gateway_->in_flight("r-1") == 0; }));
}

TEST_F(GatewayTest, AnAbortBeforeTheFirstByteReachesTheReplica) {
  Flag got, ended;
  ScriptedReplica replica([&](Wire& wire) {
    wire.read_message();
    got.set();
    if (wire.closed_by_peer()) ended.set();
  });
  start();
  gateway_->publish(endpoint("r-1", replica.port));
  Wire waiting = client();
  waiting.send(post(kBody));
  ASSERT_TRUE(got.wait());
  EXPECT_EQ(gateway_->in_flight("r-1"), 1U);
  waiting.close();
  EXPECT_TRUE(ended.wait());
  EXPECT_TRUE(eventually([&] { return gateway_->in_flight("r-1") == 0; }));
}

TEST_F(GatewayTest, ARequestIsRetriedOnAnotherReplicaBeforeTheFirstByte) {
  ScriptedReplica dying([](Wire& wire) { wire.read_message(); });  // reads, then closes
  ScriptedReplica healthy(ScriptedReplica::echo);
  router_.policy = Policy::RoundRobin;
  start();
  gateway_->publish(endpoint("bad", dying.port));
  gateway_->publish(endpoint("good", healthy.port));
  for (int i = 0; i < 4; ++i) {
    std::string answer = ask(post(kBody));
    EXPECT_EQ(body_of(answer), kBody);
    EXPECT_THAT(answer, HasSubstr("x-tweendeck-replica: good"));
  }
  EXPECT_THAT(story(), testing::AllOf(testing::Not(testing::IsEmpty()),
                                      testing::Each("bad UpstreamFailed retried on good")));
}

TEST_F(GatewayTest, ARequestIsRetriedOnceOnly) {
  std::atomic<int> tries{0};
  auto dies = [&](Wire& wire) {
    if (!wire.read_message().empty()) ++tries;
  };
  ScriptedReplica a(dies), b(dies), c(dies);
  start();
  gateway_->publish(endpoint("a", a.port));
  gateway_->publish(endpoint("b", b.port));
  gateway_->publish(endpoint("c", c.port));
  std::string answer = ask(post(kBody));
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 502 "));
  EXPECT_EQ(code_of(answer), "UpstreamFailed");
  EXPECT_EQ(tries, 2);
}

TEST_F(GatewayTest, NothingIsRetriedAfterTheFirstByte) {
  ScriptedReplica dying([](Wire& wire) {
    wire.read_message();
    wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
  });
  ScriptedReplica healthy(ScriptedReplica::echo);
  start();
  gateway_->publish(endpoint("bad", dying.port));
  Wire wire = client();
  wire.send(post(kBody));
  EXPECT_THAT(wire.read_until("hello\r\n"), HasSubstr("replica: bad"));
  gateway_->publish(endpoint("good", healthy.port));
  EXPECT_EQ(wire.read_all(), "");  // no last chunk: the client sees that the answer is cut
  EXPECT_EQ(healthy.accepted, 0);
  EXPECT_THAT(story(), testing::ElementsAre("bad UpstreamFailed cut "));
}

TEST_F(GatewayTest, AKeptConnectionThatTheReplicaClosedIsNoError) {
  std::atomic<int> served{0};
  ScriptedReplica replica([&](Wire& wire) {
    // One answer per connection; the second request on it is met by a close.
    std::string request = wire.read_message();
    if (request.empty()) return;
    ++served;
    wire.send(ok_answer(body_of(request)));
    wire.read_until("\r\n\r\n");
  });
  start();
  gateway_->publish(endpoint("r-1", replica.port));
  Wire wire = client();
  for (int i = 0; i < 20; ++i) {
    wire.send(post(kBody));
    ASSERT_EQ(body_of(wire.read_message()), kBody);
  }
  EXPECT_EQ(served, 20);
  EXPECT_THAT(story(), testing::IsEmpty());
}

TEST_F(GatewayTest, ARequestOutlivesTheDeathOfTheOnlyReplica) {
  auto first = std::make_unique<ScriptedReplica>(ScriptedReplica::echo);
  start();
  gateway_->publish(endpoint("r-1", first->port));
  EXPECT_EQ(body_of(ask(post(kBody))), kBody);
  first->stop();
  Wire wire = client();
  wire.send(post(kBody));  // refused connection: waits
  ASSERT_TRUE(eventually([&] { return !story().empty(); }));
  ScriptedReplica second(ScriptedReplica::echo);
  gateway_->publish(endpoint("r-1", second.port));
  EXPECT_EQ(body_of(wire.read_message()), kBody);
}

TEST_F(GatewayTest, ASilentReplicaTimesOut) {
  config_.first_byte_timeout = 50 * kMillisecond;
  ScriptedReplica replica([](Wire& wire) {
    wire.read_message();
    wire.closed_by_peer();
  });
  start();
  gateway_->publish(endpoint("r-1", replica.port));
  EXPECT_EQ(code_of(ask(post(kBody))), "UpstreamTimeout");
}

}  // namespace
}  // namespace tweendeck::routing::gateway

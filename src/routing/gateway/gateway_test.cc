#include "routing/gateway/gateway.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <condition_variable>
#include <mutex>

#include "net/json.h"
#include "routing/gateway/scripted.h"

namespace tweendeck::routing::gateway {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

std::string post(std::string_view body, std::string_view path = "/v1/chat/completions",
                 std::string_view fields = "") {
  return fmt::format(
      "POST {} HTTP/1.1\r\nHost: gw\r\nContent-Type: application/json\r\n{}Content-Length: {}\r\n\r\n{}",
      path, fields, body.size(), body);
}
const std::string kBody = R"({"model":"m","messages":[{"role":"user","content":"hi"}]})";

std::string body_of(const std::string& message) {
  return message.substr(message.find("\r\n\r\n") + 4);
}
std::string code_of(const std::string& message) {
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

TEST_F(GatewayTest, PassesARequestAndItsAnswer) {
  std::string seen;
  Flag got;
  ScriptedReplica replica([&](Wire& wire) {
    seen = wire.read_message();
    got.set();
    wire.send(
        "HTTP/1.1 201 Fine\r\nX-Engine: e\r\nContent-Length: 3\r\nConnection: keep-alive\r\nKeep-Alive: "
        "5\r\n\r\nabc");
    wire.read_message();
  });
  start();
  gateway_->publish(endpoint("r-1", replica.port));
  Wire wire = client();
  wire.send(post(kBody, "/v1/completions?x=1", "X-Trace: t\r\nConnection: x-hop\r\nX-Hop: 1\r\n"));
  std::string answer = wire.read_message();
  ASSERT_TRUE(got.wait());
  EXPECT_THAT(seen, StartsWith("POST /v1/completions?x=1 HTTP/1.1\r\n"));
  EXPECT_THAT(seen, HasSubstr("X-Trace: t\r\n"));
  EXPECT_THAT(seen, HasSubstr(fmt::format("Host: 127.0.0.1:{}\r\n", replica.port)));
  EXPECT_THAT(seen, Not(HasSubstr("X-Hop")));
  EXPECT_EQ(body_of(seen), kBody);
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 201 Fine\r\nX-Engine: e\r\n"));
  EXPECT_THAT(answer, HasSubstr("x-tweendeck-replica: r-1\r\nx-tweendeck-cached-tokens: 0\r\n"));
  EXPECT_THAT(answer, Not(HasSubstr("Keep-Alive")));
  EXPECT_EQ(body_of(answer), "abc");
}

TEST_F(GatewayTest, ConnectionsAreKeptOnBothSides) {
  ScriptedReplica replica(ScriptedReplica::echo);
  start();
  gateway_->publish(endpoint("r-1", replica.port));
  Wire wire = client();
  for (int i = 0; i < 50; ++i) {
    wire.send(post(kBody));
    ASSERT_EQ(body_of(wire.read_message()), kBody);
  }
  EXPECT_EQ(replica.accepted, 1);
}

TEST_F(GatewayTest, PipelinedRequestsAreAnsweredInOrder) {
  ScriptedReplica replica(ScriptedReplica::echo);
  start();
  gateway_->publish(endpoint("r-1", replica.port));
  Wire wire = client();
  std::string all;
  for (int i = 0; i < 5; ++i) all += post(fmt::format(R"({{"model":"m","prompt":"{}"}})", i));
  wire.send(all);
  for (int i = 0; i < 5; ++i)
    EXPECT_EQ(body_of(wire.read_message()), fmt::format(R"({{"model":"m","prompt":"{}"}})", i));
}

TEST_F(GatewayTest, StreamedAnswerArrivesByteForByteAndAtOnce) {
  const std::string first = "5\r\nhello\r\n", rest = "1;x=y\r\n!\r\n0\r\nX-T: 1\r\n\r\n";
  Flag first_seen;
  ScriptedReplica replica([&](Wire& wire) {
    wire.read_message();
    wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + first);
    EXPECT_TRUE(first_seen.wait());  // the gateway must not wait for more
    for (char c : rest) wire.send(std::string_view(&c, 1));
    wire.read_message();
  });
  start();
  gateway_->publish(endpoint("r-1", replica.port));
  Wire wire = client();
  wire.send(post(kBody));
  EXPECT_THAT(wire.read_until("\r\n\r\n"), HasSubstr("Transfer-Encoding: chunked\r\n"));
  EXPECT_EQ(wire.read_bytes(first.size()), first);
  first_seen.set();
  EXPECT_EQ(wire.read_bytes(rest.size()), rest);
}

TEST_F(GatewayTest, Http10ClientsGetPlainBodies) {
  ScriptedReplica replica([](Wire& wire) {
    wire.read_message();
    wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n1\r\n!\r\n0\r\n\r\n");
    wire.read_message();
  });
  start();
  gateway_->publish(endpoint("r-1", replica.port));
  Wire wire = client();
  wire.send(
      fmt::format("POST /v1/completions HTTP/1.0\r\nContent-Length: {}\r\n\r\n{}", kBody.size(), kBody));
  std::string answer = wire.read_all();
  EXPECT_EQ(body_of(answer), "hello!");
  EXPECT_THAT(answer, Not(HasSubstr("chunked")));
}

TEST_F(GatewayTest, AnswersThatEndWithTheConnectionPass) {
  ScriptedReplica replica([](Wire& wire) {
    wire.read_message();
    wire.send("HTTP/1.0 200 OK\r\n\r\nuntil the end");
  });
  start();
  gateway_->publish(endpoint("r-1", replica.port));
  Wire wire = client();
  wire.send(post(kBody));
  EXPECT_EQ(body_of(wire.read_all()), "until the end");
}

TEST_F(GatewayTest, TheModelsNameIsSpliced) {
  ScriptedReplica replica(ScriptedReplica::echo);
  start();
  Endpoint e = endpoint("r-1", replica.port);
  e.models = {"alias"};
  e.served_model = "/models/the \"real\" one.gguf";
  gateway_->publish(e);
  EXPECT_EQ(body_of(ask(post(R"({ "messages":[], "model" : "alias" ,"n":1})"))),
            R"({ "messages":[], "model" : "/models/the \"real\" one.gguf" ,"n":1})");
}

TEST_F(GatewayTest, BadRequestsGetTheirOwnErrors) {
  config_.max_body_bytes = 2 << 20;
  start();
  ScriptedReplica replica(ScriptedReplica::echo);
  gateway_->publish(endpoint("r-1", replica.port));
  auto expect = [&](std::string_view request, int status, std::string_view code) {
    std::string answer = ask(request);
    EXPECT_THAT(answer, StartsWith(fmt::format("HTTP/1.1 {} ", status))) << request.substr(0, 200);
    EXPECT_EQ(code_of(answer), code) << request.substr(0, 200);
  };
  expect(post(R"({"model":"m",})"), 400, "MalformedRequest");
  expect(post(R"({"model":"m")"), 400, "MalformedRequest");
  expect(post(R"({"model":"m","model":"m"})"), 400, "DuplicateModelKey");
  expect(post(R"({"messages":[]})"), 400, "MissingModel");
  expect(post(""), 400, "MissingModel");
  expect(post(R"({"model":"nobody"})"), 404, "UnknownModel");
  expect("garbage\r\n\r\n", 400, "MalformedRequest");
  expect("POST /v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", 400,
         "MalformedRequest");
  expect("POST /v1/x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400,
         "MalformedRequest");
  expect("GET / HTTP/1.1\r\nHost: a\r\n\r\n", 404, "NotFound");
  expect("GET /v1/chat/completions HTTP/1.1\r\nHost: a\r\n\r\n", 405, "MethodNotAllowed");
  expect("DELETE /v1/models HTTP/1.1\r\nHost: a\r\n\r\n", 405, "MethodNotAllowed");
  expect("GET /v1/models/q HTTP/1.1\r\nHost: a\r\n\r\n", 404, "UnknownModel");
  expect("GET / HTTP/1.1\r\nHost: a\r\nX: " + std::string(20000, 'x') + "\r\n\r\n", 431, "HeadersTooLarge");
  std::string many = "GET / HTTP/1.1\r\nHost: a\r\n";
  for (int i = 0; i < 200; ++i) many += "a: b\r\n";
  expect(many + "\r\n", 431, "HeadersTooLarge");
  expect("POST /v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 100000000\r\n\r\n", 413, "BodyTooLarge");
  EXPECT_THAT(ask(post(R"({"model":"nobody"})")), HasSubstr("served here: m"));
  EXPECT_EQ(body_of(ask(post(kBody))), kBody);  // nothing else is disturbed
}

TEST_F(GatewayTest, AHugeBodyIsRefusedWhileItIsSentAndTheClientSeesWhy) {
  config_.max_body_bytes = 1 << 20;
  start();
  Wire wire = client();
  std::thread sender([&] {
    wire.send("POST /v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 30000000\r\n\r\n");
    wire.send(std::string(30'000'000, 'x'));
  });
  std::string answer = wire.read_message();
  sender.join();
  EXPECT_EQ(code_of(answer), "BodyTooLarge");
  EXPECT_THAT(answer, HasSubstr("send less at once"));
}

TEST_F(GatewayTest, ExpectContinueIsAnswered) {
  ScriptedReplica replica(ScriptedReplica::echo);
  start();
  gateway_->publish(endpoint("r-1", replica.port));
  Wire wire = client();
  wire.send(fmt::format(
      "POST /v1/completions HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
      kBody.size()));
  EXPECT_EQ(wire.read_until("\r\n\r\n"), "HTTP/1.1 100 Continue\r\n\r\n");
  wire.send(kBody);
  EXPECT_EQ(body_of(wire.read_message()), kBody);
}

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

TEST_F(GatewayTest, SlowSendersAreToldSo) {
  config_.head_timeout = config_.body_timeout = 50 * kMillisecond;
  start();
  Wire head = client(), body = client();
  head.send("POST /v1/x HT");
  body.send("POST /v1/x HTTP/1.1\r\nHost: a\r\nContent-Length: 100\r\n\r\n{");
  for (Wire* wire : {&head, &body}) {
    std::string answer = wire->read_message();
    EXPECT_THAT(answer, StartsWith("HTTP/1.1 408 "));
    EXPECT_EQ(code_of(answer), "SlowClient");
  }
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

TEST_F(GatewayTest, LargeBodiesStreamInBothFramings) {
  config_.max_hold_bytes = 64 * 1024;
  std::mutex mutex;
  std::string seen;
  auto seen_is = [&](const std::string& text) {
    std::lock_guard lock(mutex);
    return seen == text;
  };
  ScriptedReplica replica([&](Wire& wire) {
    std::string head = wire.read_until("\r\n\r\n");
    std::string body;
    if (head.find("chunked") != std::string::npos) {
      while (true) {
        size_t size = std::stoul(wire.read_until("\r\n"), nullptr, 16);
        body += wire.read_bytes(size);
        wire.read_bytes(2);
        if (size == 0) break;
      }
    } else {
      body = wire.read_bytes(std::stoul(head.substr(head.find("Content-Length: ") + 16)));
    }
    {
      std::lock_guard lock(mutex);
      seen = body;
    }
    wire.send(ok_answer("{}"));
    wire.read_message();
  });
  start();
  Endpoint e = endpoint("r-1", replica.port);
  e.served_model = "another name";
  gateway_->publish(e);
  std::string text;
  for (int i = 0; text.size() < 3'000'000; ++i) text += fmt::format("{} ", i);
  std::string body = fmt::format(R"({{"model":"m","prompt":"{}"}})", text);
  std::string expected = fmt::format(R"({{"model":"another name","prompt":"{}"}})", text);

  EXPECT_EQ(body_of(ask(post(body))), "{}");
  EXPECT_TRUE(seen_is(expected));

  Wire wire = client();
  wire.send("POST /v1/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
  for (size_t at = 0; at < body.size(); at += 50'000) {
    std::string_view part = std::string_view(body).substr(at, 50'000);
    wire.send(fmt::format("{:x}\r\n{}\r\n", part.size(), part));
  }
  wire.send("0\r\n\r\n");
  EXPECT_EQ(body_of(wire.read_message()), "{}");
  EXPECT_TRUE(seen_is(expected));
}

TEST_F(GatewayTest, AnAdaptersNameReachesTheEngineAndAnAliasDoesNot) {
  ScriptedReplica replica(ScriptedReplica::echo);
  start();
  Endpoint e = endpoint("r-1", replica.port);
  e.models = {"m", "alias", "sql"};
  e.adapters = {"sql"};
  e.served_model = "m";
  gateway_->publish(e);
  EXPECT_EQ(body_of(ask(post(R"({"model":"sql","prompt":"a"})"))), R"({"model":"sql","prompt":"a"})");
  EXPECT_EQ(body_of(ask(post(R"({"model":"alias","prompt":"a"})"))), R"({"model":"m","prompt":"a"})");
}

TEST_F(GatewayTest, ALargeBodyThatTurnsOutBadIsRefused) {
  config_.max_hold_bytes = 64 * 1024;
  ScriptedReplica replica([](Wire& wire) { wire.read_all(); });
  start();
  gateway_->publish(endpoint("r-1", replica.port));
  std::string text(300'000, 'x');
  EXPECT_EQ(code_of(ask(post(fmt::format(R"({{"model":"m","prompt":"{}","model":"n"}})", text)))),
            "DuplicateModelKey");
  EXPECT_EQ(code_of(ask(post(fmt::format(R"({{"prompt":"{}","model":"m"}})", text)))), "BodyTooLarge");
}

TEST_F(GatewayTest, HeldBytesHaveALimitInAll) {
  config_.max_total_hold_bytes = 100;
  start();
  ScriptedReplica replica(ScriptedReplica::echo);
  gateway_->publish(endpoint("r-1", replica.port));
  std::string answer = ask(post(R"({"model":"m","prompt":")" + std::string(100, 'x') + "\"}"));
  EXPECT_THAT(answer, StartsWith("HTTP/1.1 429 "));
  EXPECT_EQ(code_of(answer), "Overloaded");
  for (int i = 0; i < 5; ++i) EXPECT_EQ(body_of(ask(post(kBody))), kBody);  // each gives its bytes back
}

TEST_F(GatewayTest, ASlowReaderPushesBackOnTheReplica) {
  std::atomic<size_t> written{0};
  constexpr size_t kTotal = 64 << 20;
  ScriptedReplica replica([&](Wire& wire) {
    wire.read_message();
    wire.send(fmt::format("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", kTotal));
    std::string block(1 << 16, 'x');
    while (written < kTotal && wire.send(block)) written += block.size();
    wire.read_message();
  });
  start();
  gateway_->publish(endpoint("r-1", replica.port));
  Wire wire = client();
  wire.send(post(kBody));
  wire.read_until("\r\n\r\n");
  size_t before = 0;
  ASSERT_TRUE(eventually([&] { return written > 0 && written == std::exchange(before, written); }));
  EXPECT_LT(written, kTotal);  // socket buffers are full; the gateway holds no more than one input buffer
  EXPECT_EQ(wire.read_bytes(kTotal - 1000).size(), kTotal - 1000);
}

TEST_F(GatewayTest, KeysAreRequiredWhereTheyAreSet) {
  char name[] = "/tmp/tw-keys-XXXXXX";
  int fd = ::mkstemp(name);
  ASSERT_GT(::write(fd, "a-good-key-0123456789\n", 22), 0);
  ::close(fd);
  config_.api_keys_file = name;
  ScriptedReplica replica([](Wire& wire) {
    std::string request = wire.read_message();
    wire.send(ok_answer(request.find("Authorization") == std::string::npos ? "clean" : "leaked"));
  });
  start();
  ::unlink(name);
  gateway_->publish(endpoint("r-1", replica.port));
  std::string refused = ask(post(kBody));
  EXPECT_THAT(refused, StartsWith("HTTP/1.1 401 "));
  EXPECT_EQ(code_of(refused), "Unauthorized");
  EXPECT_EQ(body_of(ask(post(kBody, "/v1/completions", "Authorization: Bearer a-good-key-0123456789\r\n"))),
            "clean");
  EXPECT_THAT(ask("GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"), StartsWith("HTTP/1.1 200 "));
  EXPECT_THAT(ask("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"), StartsWith("HTTP/1.1 401 "));
}

TEST_F(GatewayTest, BeyondLoopbackKeysAreNeeded) {
  config_.listen = {"0.0.0.0", 0};
  Gateway gateway(config_, router_, registry_, clock_);
  EXPECT_EQ(gateway.start().error().reason, Reason::InvalidArgument);
}

TEST_F(GatewayTest, AnAddressInUseIsNamed) {
  start();
  config_.listen.port = gateway_->port();
  Gateway second(config_, router_, registry_, clock_);
  auto ok = second.start();
  ASSERT_FALSE(ok);
  EXPECT_EQ(ok.error().reason, Reason::AlreadyExists);
}

TEST_F(GatewayTest, StopLetsAnswersEnd) {
  Flag got, go;
  ScriptedReplica replica([&](Wire& wire) {
    wire.read_message();
    got.set();
    EXPECT_TRUE(go.wait());
    wire.send(ok_answer("done"));
    wire.read_message();
  });
  start();
  gateway_->publish(endpoint("r-1", replica.port));
  Wire busy = client(), idle = client();
  busy.send(post(kBody));
  ASSERT_TRUE(got.wait());
  gateway_->begin_drain(20 * kSecond);
  EXPECT_TRUE(idle.closed_by_peer());
  EXPECT_FALSE(gateway_->wait_drained(0));
  EXPECT_EQ(gateway_->in_flight("r-1"), 1U) << "whoever asks is answered meanwhile";
  go.set();
  std::string answer = busy.read_message();
  EXPECT_EQ(body_of(answer), "done");
  EXPECT_TRUE(busy.closed_by_peer());
  EXPECT_TRUE(gateway_->wait_drained(20 * kSecond));
  EXPECT_EQ(gateway_->in_flight("r-1"), 0U);
  gateway_->stop(0);
}

TEST_F(GatewayTest, UsageReachesTheMetrics) {
  ScriptedReplica replica([](Wire& wire) {
    wire.read_message();
    wire.send(ok_answer(R"({"usage":{"prompt_tokens":12,"completion_tokens":5}})"));
    wire.read_message();
  });
  start();
  gateway_->publish(endpoint("r-1", replica.port));
  ask(post(kBody));
  std::string page = ask("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_THAT(page, HasSubstr("tweendeck_gateway_requests_total{code=\"200\",model=\"m\"} 1\n"));
  EXPECT_THAT(page, HasSubstr("tweendeck_gateway_prompt_tokens_total{model=\"m\"} 12\n"));
  EXPECT_THAT(page, HasSubstr("tweendeck_gateway_output_tokens_total{model=\"m\"} 5\n"));
}

TEST_F(GatewayTest, ManyStreamsAtOnceKeepTheirBytes) {
  ScriptedReplica replica([](Wire& wire) {
    std::string tag = body_of(wire.read_message());
    wire.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (int i = 0; i < 50; ++i) {
      std::string event = fmt::format("data: {} {}\n\n", i, tag);
      if (!wire.send(fmt::format("{:x}\r\n{}\r\n", event.size(), event))) return;
    }
    wire.send("0\r\n\r\n");
    wire.read_message();
  });
  start();
  gateway_->publish(endpoint("r-1", replica.port));
  std::vector<std::thread> clients;
  std::atomic<int> right{0};
  for (int c = 0; c < 40; ++c) {
    clients.emplace_back([&, c] {
      std::string tag = fmt::format(R"({{"model":"m","prompt":"{}"}})", c);
      std::string expected;
      for (int i = 0; i < 50; ++i) {
        std::string event = fmt::format("data: {} {}\n\n", i, tag);
        expected += fmt::format("{:x}\r\n{}\r\n", event.size(), event);
      }
      expected += "0\r\n\r\n";
      Wire wire = client();
      wire.send(post(tag));
      wire.read_until("\r\n\r\n");
      if (wire.read_bytes(expected.size()) == expected) ++right;
    });
  }
  for (auto& thread : clients) thread.join();
  EXPECT_EQ(right, 40);
}

}  // namespace
}  // namespace tweendeck::routing::gateway

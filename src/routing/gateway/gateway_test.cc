// The gateway passes bytes both ways, unchanged and at once.
#include <thread>

#include "routing/gateway/gateway_testing.h"

namespace tweendeck::routing::gateway {
namespace {

using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

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

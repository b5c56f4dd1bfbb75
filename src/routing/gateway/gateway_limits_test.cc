// What the gateway does not take: bad, large and slow requests, wrong keys, impossible addresses.
#include <thread>

#include "routing/gateway/gateway_testing.h"

namespace tweendeck::routing::gateway {
namespace {

using testing::HasSubstr;
using testing::StartsWith;

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

}  // namespace
}  // namespace tweendeck::routing::gateway

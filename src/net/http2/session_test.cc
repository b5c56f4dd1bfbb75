// Session and gRPC calls against nghttp2's client, in memory.
#include "net/http2/session.h"

#include <gtest/gtest.h>

#include "net/http2/client_testing.h"
#include "net/http2/grpc.h"
#include "net/http2/health.h"
#include "net/protobuf.h"

namespace tweendeck::net::http2 {
namespace {

constexpr char kEcho[] = "/test.Echo/Echo";

struct EchoLog {
  int closed = 0, half_closed = 0, drained = 0;
  std::vector<GrpcCall*> calls;
  bool paused = false;
};

// Sends every message back; the call ends when the client ends.
class Echo final : public GrpcHandler {
 public:
  Echo(GrpcCall& call, EchoLog& log) : call_(call), log_(log) { log.calls.push_back(&call); }

 private:
  void on_message(const GrpcMessage& message) override {
    if (message.bytes() == "fail") return call_.finish(GrpcStatus::Internal, "100 % wrong\n");
    if (log_.paused) call_.pause(true);
    std::string_view part = message.bytes();
    auto owner = message.keep(part);
    call_.send({}, std::move(owner), part, {});
  }
  void on_half_close() override {
    ++log_.half_closed;
    call_.finish(GrpcStatus::Ok);
  }
  void on_drained() override { ++log_.drained; }
  void on_closed() override { ++log_.closed; }

  GrpcCall& call_;
  EchoLog& log_;
};

class SessionTest : public ::testing::Test {
 protected:
  void start(Limits changed = {}) {
    session.reset();
    limits = changed;
    shared = std::make_unique<GrpcShared>(GrpcShared{limits, {}, 0});
    shared->methods[kEcho] = [this](GrpcCall& call) { return std::make_unique<Echo>(call, log); };
    health.offer(*shared);
    session = std::make_unique<Session>(limits, GrpcCall::factory(*shared), [] {});
    client = std::make_unique<TestClient>();
  }
  // Both sides say what they have until neither has more. `piece`: bytes per receive().
  bool exchange(size_t piece = SIZE_MAX) {
    for (int turns = 0; turns < 100000; ++turns) {
      const std::string there = client->wire();
      bool alive = true;
      for (size_t at = 0; at < there.size() && alive; at += std::min(piece, there.size() - at)) {
        alive = session->receive(std::string_view(there).substr(at, piece));
      }
      OutQueue out;
      session->produce(out);
      const bool quiet = there.empty() && out.empty();
      while (!out.empty()) {
        iovec part;
        out.front(&part, 1);
        if (!client->receive({static_cast<char*>(part.iov_base), part.iov_len})) return false;
        out.pop(part.iov_len);
      }
      if (!alive) return false;
      if (quiet) return true;
    }
    ADD_FAILURE() << "no end";
    return false;
  }

  Limits limits;
  EchoLog log;
  Health health;
  std::unique_ptr<GrpcShared> shared;
  std::unique_ptr<Session> session;
  std::unique_ptr<TestClient> client;
};

TEST_F(SessionTest, MessagesOfAnySizeComeBackWhateverThePieces) {
  for (size_t piece : {size_t{1}, size_t{3}, size_t{1000}, SIZE_MAX}) {
    start();
    const int32_t id = client->open(kEcho);
    std::vector<std::string> sent = {"",
                                     "a",
                                     std::string(1000, 'b'),
                                     std::string(16379, 'c'),
                                     std::string(16384, 'd'),
                                     std::string(300'000, 'e'),
                                     ""};
    for (const std::string& message : sent) client->send(id, grpc_frame(message));
    client->end(id);
    ASSERT_TRUE(exchange(piece));
    const TestClient::Call& call = client->calls[id];
    EXPECT_EQ(call.messages(), sent) << piece;
    EXPECT_EQ(call.status(), "0");
    EXPECT_EQ(call.fields.at("content-type"), "application/grpc");
    EXPECT_TRUE(call.closed);
    EXPECT_EQ(call.error, 0u);
    EXPECT_EQ(shared->partial_bytes, 0u);
    EXPECT_EQ(session->open(), 0u);
  }
  EXPECT_EQ(log.closed, 4);
}

TEST_F(SessionTest, ErrorsAreStatuses) {
  start();
  const int32_t unknown = client->open("/no.Such/Method");
  const int32_t failing = client->open(kEcho);
  client->send(failing, grpc_frame("fail"));
  const int32_t compressed = client->open(kEcho);
  client->send(compressed, grpc_frame("x", 1));
  const int32_t cut = client->open(kEcho);
  client->send(cut, grpc_frame("whole").substr(0, 7));
  client->end(cut);
  const int32_t web = client->open(kEcho, {}, "text/html");
  ASSERT_TRUE(exchange());
  EXPECT_EQ(client->calls[unknown].status(), "12");
  EXPECT_EQ(client->calls[failing].status(), "13");
  EXPECT_EQ(client->calls[failing].fields.at("grpc-message"), "100 %25 wrong%0A");
  EXPECT_EQ(client->calls[compressed].status(), "12");
  EXPECT_EQ(client->calls[cut].status(), "3");
  EXPECT_EQ(client->calls[web].fields.at(":status"), "415");
  // The client had not ended these: they are reset without an error, so that nothing of them is left.
  EXPECT_TRUE(client->calls[failing].closed);
  EXPECT_EQ(client->calls[failing].error, 0u);
  EXPECT_EQ(session->open(), 0u);
}

TEST_F(SessionTest, LimitsOfMessagesAndHeaders) {
  start({.max_header_bytes = 2000, .max_message_bytes = 1000, .max_partial_bytes = 500});
  const int32_t large = client->open(kEcho);
  client->send(large, grpc_frame(std::string(1001, 'x')));
  const int32_t many = client->open(kEcho);
  client->send(many,
               grpc_frame(std::string(900, 'x')).substr(0, 600));  // more than all partial ones may have
  const int32_t headers = client->open(kEcho, {{"x", std::string(2000, 'y')}});
  ASSERT_TRUE(exchange());
  EXPECT_EQ(client->calls[large].status(), "8");
  EXPECT_EQ(client->calls[many].status(), "8");
  EXPECT_EQ(client->calls[headers].error, uint32_t{NGHTTP2_INTERNAL_ERROR});
  EXPECT_EQ(shared->partial_bytes, 0u);
  EXPECT_EQ(session->open(), 0u);
}

TEST_F(SessionTest, APausedCallTakesInOneWindowOnly) {
  start({.stream_window_bytes = 65535});
  log.paused = true;
  const int32_t id = client->open(kEcho);
  for (int i = 0; i < 20; ++i) client->send(id, grpc_frame(std::string(10'000, 'x')));
  ASSERT_TRUE(exchange());
  EXPECT_LE(client->calls[id].bytes.size(), 65535u);
  EXPECT_GE(client->calls[id].unsent.size(), 20u * 10'005 - 65535);
  log.paused = false;
  log.calls[0]->pause(false);
  ASSERT_TRUE(exchange());
  EXPECT_EQ(client->calls[id].messages().size(), 20u);
}

TEST_F(SessionTest, AClientThatTakesNothingBoundsWhatIsProduced) {
  start({.max_backlog_bytes = 32 << 10});
  const int32_t id = client->open(kEcho);
  client->send(id, grpc_frame(std::string(60'000, 'x')));
  const std::string there = client->wire();
  ASSERT_TRUE(session->receive(there));
  OutQueue out;
  session->produce(out);
  EXPECT_GE(out.size(), size_t{32 << 10});
  EXPECT_LE(out.size(), size_t{(32 << 10) + (16 << 10) + 1000});
  EXPECT_EQ(log.drained, 0);
}

TEST_F(SessionTest, ResetAndLossEndCalls) {
  start();
  const int32_t reset = client->open(kEcho);
  client->send(reset, grpc_frame("x"));
  ASSERT_TRUE(exchange());
  client->reset(reset);
  ASSERT_TRUE(exchange());
  EXPECT_EQ(log.closed, 1);
  const int32_t lost = client->open(kEcho);
  client->send(lost, grpc_frame("x").substr(0, 5));
  ASSERT_TRUE(exchange());
  session->abandon();
  EXPECT_EQ(log.closed, 2);
  EXPECT_EQ(log.half_closed, 0);
}

TEST_F(SessionTest, RapidResetEndsTheConnection) {
  start({.reset_burst = 50, .resets_per_second = 1});
  bool alive = true;
  int streams = 0;
  while (alive && streams < 500) {
    const int32_t id = client->open(kEcho);
    alive = session->receive(client->wire());
    client->reset(id);
    alive = alive && exchange() && client->goaways == 0;
    ++streams;
  }
  EXPECT_GE(streams, 50);
  EXPECT_LE(streams, 60);
  EXPECT_EQ(session->open(), 0u);
}

TEST_F(SessionTest, StreamsAboveTheLimitAreRefused) {
  start({.max_streams = 3});
  ASSERT_TRUE(exchange());  // the limit is known to the client, which keeps to it
  for (int i = 0; i < 5; ++i) client->open(kEcho);
  ASSERT_TRUE(exchange());
  EXPECT_EQ(session->open(), 3u);
}

TEST_F(SessionTest, DrainLetsCallsFinishAndRefusesLaterOnes) {
  start();
  const int32_t id = client->open(kEcho);
  client->send(id, grpc_frame("before"));
  ASSERT_TRUE(exchange());
  session->announce_end();
  ASSERT_TRUE(exchange());
  EXPECT_EQ(client->goaways, 1);
  EXPECT_EQ(client->goaway_last_stream, INT32_MAX);
  EXPECT_FALSE(session->over());
  session->refuse_streams();
  ASSERT_TRUE(exchange());
  EXPECT_EQ(client->goaway_last_stream, id);
  client->send(id, grpc_frame("after"));
  client->end(id);
  ASSERT_TRUE(exchange());
  EXPECT_EQ(client->calls[id].messages(), (std::vector<std::string>{"before", "after"}));
  EXPECT_EQ(client->calls[id].status(), "0");
  EXPECT_TRUE(session->over());
}

TEST_F(SessionTest, FloodsAndNonsenseEndTheConnection) {
  start({.empty_data_burst = 10});
  const int32_t id = client->open(kEcho);
  ASSERT_TRUE(exchange());
  std::string frame = {0, 0, 0, 0, 0, 0, 0, 0, static_cast<char>(id)};  // DATA without a byte
  for (int i = 0; i < 12; ++i) session->receive(frame);
  exchange();
  EXPECT_EQ(client->goaway_error, uint32_t{NGHTTP2_ENHANCE_YOUR_CALM});
  Session http1(limits, GrpcCall::factory(*shared), [] {});
  EXPECT_FALSE(http1.receive("GET / HTTP/1.1\r\nHost: x\r\n\r\n"));
}

TEST_F(SessionTest, HealthIsCheckedAndWatched) {
  start();
  health.set("readiness", true);
  auto ask = [](std::string_view service) {
    ProtoWriter out;
    out.field(1, service);
    return grpc_frame(out.head());
  };
  const int32_t ready = client->open("/grpc.health.v1.Health/Check");
  client->send(ready, ask("readiness"));
  client->end(ready);
  const int32_t missing = client->open("/grpc.health.v1.Health/Check");
  client->send(missing, ask("nothing"));
  client->end(missing);
  const int32_t watch = client->open("/grpc.health.v1.Health/Watch");
  client->send(watch, ask("readiness"));
  const int32_t later = client->open("/grpc.health.v1.Health/Watch");
  client->send(later, ask("later"));
  ASSERT_TRUE(exchange());
  EXPECT_EQ(client->calls[ready].messages(), (std::vector<std::string>{"\x08\x01"}));
  EXPECT_EQ(client->calls[ready].status(), "0");
  EXPECT_EQ(client->calls[missing].status(), "5");
  health.set("readiness", false);
  health.set("later", true);
  ASSERT_TRUE(exchange());
  EXPECT_EQ(client->calls[watch].messages(), (std::vector<std::string>{"\x08\x01", "\x08\x02"}));
  EXPECT_EQ(client->calls[later].messages(), (std::vector<std::string>{"\x08\x03", "\x08\x01"}));
  client->reset(watch);
  ASSERT_TRUE(exchange());
  health.set("readiness", true);
  EXPECT_EQ(client->calls[watch].messages().size(), 2u);
}

TEST(OutQueue, KeepsOrderAndBytesOverAnySplit) {
  const auto large = std::make_shared<const std::string>(5000, 'L');
  for (size_t step : {size_t{1}, size_t{7}, size_t{999}, size_t{100'000}}) {
    OutQueue first, second;
    std::string expected, got;
    for (int i = 0; i < 60; ++i) {
      const std::string small = std::to_string(i) + std::string(static_cast<size_t>(i) * 40, 's');
      first.append(small);
      first.append(large, std::string_view(*large).substr(static_cast<size_t>(i)));
      expected += small + large->substr(static_cast<size_t>(i));
    }
    while (!first.empty() || !second.empty()) {
      second.take(first, std::min(first.size(), step * 2));
      iovec parts[3];
      const int count = second.front(parts, 3);
      size_t now = step;
      for (int i = 0; i < count && now > 0; ++i) {
        const size_t part = std::min(now, parts[i].iov_len);
        got.append(static_cast<char*>(parts[i].iov_base), part);
        now -= part;
      }
      second.pop(step - now);
    }
    EXPECT_EQ(got, expected) << step;
  }
  EXPECT_EQ(large.use_count(), 1);
}

TEST(ProtoWire, WritesWhatItReadsAndRefusesWhatIsCut) {
  ProtoWriter out;
  const size_t mark = out.size();
  out.field(2, uint64_t{300});
  out.field(1, "name");
  out.message(7, mark);
  out.flag(2, true);
  EXPECT_EQ(out.head(), std::string("\x10\x01\x3a\x09\x0a\x04name\x10\xac\x02", 13));
  const std::string bytes(out.head());
  for (size_t size = 0; size < bytes.size(); ++size) {
    ProtoReader in(std::string_view(bytes).substr(0, size));
    while (in.next()) {
    }
    EXPECT_EQ(in.ok(), size == 0 || size == 2) << size;
  }
  ProtoWriter absent;
  absent.flag(2, true);
  absent.absent_field(1, 1000);
  absent.message(3, 0);
  EXPECT_EQ(absent.head(), std::string("\x1a\xed\x07\x0a\xe8\x07", 6));
  EXPECT_EQ(absent.tail(), "\x10\x01");
  for (const std::string& bad : {std::string("\x00", 1), std::string("\x0b", 1),
                                 std::string("\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11)}) {
    ProtoReader in(bad);
    EXPECT_FALSE(in.next());
    EXPECT_FALSE(in.ok());
  }
}

}  // namespace
}  // namespace tweendeck::net::http2

// GrpcServer on real sockets: plain and TLS, keepalive, drain.
#include "net/http2/server.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <sys/socket.h>

#include <algorithm>
#include <filesystem>
#include <thread>

#include "net/certificate_testing.h"
#include "net/http2/client_testing.h"

namespace tweendeck::net::http2 {
namespace {

constexpr char kEcho[] = "/test.Echo/Echo";

class Echo final : public GrpcHandler {
 public:
  explicit Echo(GrpcCall& call) : call_(call) {}

 private:
  void on_message(const GrpcMessage& message) override {
    std::string_view part = message.bytes();
    auto owner = message.keep(part);
    call_.send("<", std::move(owner), part, ">");
  }
  void on_half_close() override { call_.finish(GrpcStatus::Ok); }
  void on_closed() override {}
  GrpcCall& call_;
};

// A TestClient on a blocking socket. Reads give up after 20 s.
class Peer {
 public:
  explicit Peer(uint16_t port, bool tls = false) : fd_(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0)) {
    timeval limit{20, 0};
    ::setsockopt(fd_.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    EXPECT_EQ(::connect(fd_.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    if (!tls) return;
    context_.reset(SSL_CTX_new(TLS_client_method()));
    const unsigned char protocols[] = {2, 'h', '2'};
    SSL_CTX_set_alpn_protos(context_.get(), protocols, sizeof(protocols));
    ssl_.reset(SSL_new(context_.get()));
    SSL_set_fd(ssl_.get(), fd_.get());
    EXPECT_EQ(SSL_connect(ssl_.get()), 1);
  }
  void flush() {
    const std::string out = client.wire();
    if (out.empty()) return;
    if (ssl_) {
      EXPECT_EQ(SSL_write(ssl_.get(), out.data(), static_cast<int>(out.size())),
                static_cast<int>(out.size()));
    } else {
      EXPECT_EQ(::send(fd_.get(), out.data(), out.size(), MSG_NOSIGNAL), static_cast<ssize_t>(out.size()));
    }
  }
  // False when the server has closed.
  bool read() {
    char data[65536];
    const ssize_t n =
        ssl_ ? SSL_read(ssl_.get(), data, sizeof(data)) : ::recv(fd_.get(), data, sizeof(data), 0);
    return n > 0 && client.receive({data, static_cast<size_t>(n)});
  }
  template <class Condition>
  bool until(Condition condition) {
    while (!condition()) {
      flush();
      if (!read()) return false;
    }
    flush();
    return true;
  }
  std::string protocol() const {
    const unsigned char* name = nullptr;
    unsigned size = 0;
    SSL_get0_alpn_selected(ssl_.get(), &name, &size);
    return {reinterpret_cast<const char*>(name), size};
  }

  TestClient client;

 private:
  struct Free {
    void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
    void operator()(SSL* ssl) const { SSL_free(ssl); }
  };
  Fd fd_;
  std::unique_ptr<SSL_CTX, Free> context_;
  std::unique_ptr<SSL, Free> ssl_;
};

class ServerTest : public testing::Test {
 protected:
  void start(Limits limits = {}, std::shared_ptr<TlsContext> tls = nullptr) {
    ASSERT_TRUE(loop.open());
    server = std::make_unique<GrpcServer>(loop, limits, clock);
    server->offer(kEcho, [](GrpcCall& call) { return std::make_unique<Echo>(call); });
    server->health().set("readiness", true);
    Result<uint16_t> opened = server->listen({"127.0.0.1", 0}, std::move(tls));
    ASSERT_TRUE(opened);
    port = *opened;
    thread = std::thread([this] { loop.run(); });
  }
  void TearDown() override {
    if (!thread.joinable()) return;
    loop.post([this] { server->close_all(); });
    loop.stop();
    thread.join();
  }
  // Many calls with messages of many sizes; true when each came back.
  static bool echo(Peer& peer) {
    std::map<int32_t, std::vector<std::string>> sent;
    for (size_t size : {0, 10, 5000, 200'000, 1'500'000}) {
      const int32_t id = peer.client.open(kEcho);
      for (int i = 0; i < 3; ++i) {
        peer.client.send(id, grpc_frame(std::string(size, static_cast<char>('a' + i))));
        sent[id].push_back("<" + std::string(size, static_cast<char>('a' + i)) + ">");
      }
      peer.client.end(id);
    }
    const bool done = peer.until([&] {
      return std::ranges::all_of(sent,
                                 [&](const auto& call) { return peer.client.calls[call.first].closed; });
    });
    return done && std::ranges::all_of(sent, [&](const auto& call) {
             return peer.client.calls[call.first].messages() == call.second;
           });
  }

  SystemClock clock;
  EventLoop loop;
  std::unique_ptr<GrpcServer> server;
  std::thread thread;
  uint16_t port = 0;
};

TEST_F(ServerTest, EchoesPlain) {
  start();
  Peer first(port), second(port);
  EXPECT_TRUE(echo(first));
  EXPECT_TRUE(echo(second));
  EXPECT_TRUE(echo(first));
}

TEST_F(ServerTest, EchoesOverTls) {
  const std::string folder = testing::TempDir() + "/tw-grpc-tls";
  std::filesystem::create_directories(folder);
  write_pair(folder + "/cert", folder + "/key");
  auto tls = TlsContext::load(folder + "/cert", folder + "/key");
  ASSERT_TRUE(tls);
  (*tls)->offer_protocol("h2");
  start({}, *tls);
  Peer peer(port, true);
  EXPECT_EQ(peer.protocol(), "h2");
  EXPECT_TRUE(echo(peer));
  std::filesystem::remove_all(folder);
}

TEST_F(ServerTest, ClosesWhatNeverSpeaks) {
  start({.preface_timeout = 100 * kMillisecond, .sweep_interval = 20 * kMillisecond});
  Peer silent(port);
  while (silent.read()) {
  }
  SUCCEED() << "the server closed";
}

TEST_F(ServerTest, PingsWhoIsSilentAndClosesWhoDoesNotAnswer) {
  start({.ping_after = 100 * kMillisecond, .ping_timeout = 2 * kSecond, .sweep_interval = 20 * kMillisecond});
  Peer peer(port);
  EXPECT_TRUE(peer.until([&] { return peer.client.pings == 2; })) << "an answered ping keeps the connection";
  while (peer.read()) {  // and answers no more
  }
  SUCCEED() << "the server closed";
}

TEST_F(ServerTest, DrainsWithoutLosingACall) {
  start({.goaway_notice = 50 * kMillisecond});
  Peer peer(port);
  const int32_t id = peer.client.open(kEcho);
  peer.client.send(id, grpc_frame("one"));
  ASSERT_TRUE(peer.until([&] { return peer.client.calls[id].messages().size() == 1; }));
  loop.post([this] { server->begin_drain(); });
  ASSERT_TRUE(peer.until([&] { return peer.client.goaways == 2; }));
  EXPECT_EQ(peer.client.goaway_last_stream, id);
  peer.client.send(id, grpc_frame("two"));
  peer.client.end(id);
  ASSERT_TRUE(peer.until([&] { return peer.client.calls[id].closed; }));
  EXPECT_EQ(peer.client.calls[id].messages(), (std::vector<std::string>{"<one>", "<two>"}));
  EXPECT_FALSE(peer.read()) << "the last call has ended, so the server closes";
}

}  // namespace
}  // namespace tweendeck::net::http2

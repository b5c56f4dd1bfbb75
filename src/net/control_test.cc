#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <cstring>
#include <thread>

#include "net/control_client.h"
#include "net/control_server.h"
#include "net/fd.h"
#include "net/json.h"

namespace tweendeck::net {
namespace {

class ControlTest : public testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/tw-control-XXXXXX";
    ASSERT_NE(::mkdtemp(name), nullptr);
    directory_ = name;
    path_ = directory_ + "/s";
    server_.on("GET", "/v1/echo/{name}", [](const ControlRequest& r) -> Result<std::string> {
      auto tail = r.query_number("tail", 7);
      if (!tail) return fail(tail.error());
      JsonWriter w;
      w.object().field("name", r.param("name")).field("tail", *tail).end();
      return w.take();
    });
    server_.on("POST", "/v1/size",
               [](const ControlRequest& r) -> Result<std::string> { return std::to_string(r.body.size()); });
    server_.on("GET", "/v1/no", [](const ControlRequest&) -> Result<std::string> {
      return fail(Reason::InsufficientMemory, "cpu0 lacks 1 GiB", "stop chat");
    });
    server_.on("GET", "/v1/throw",
               [](const ControlRequest&) -> Result<std::string> { throw std::runtime_error("boom"); });
    server_.on_stream("GET", "/v1/count", [](const ControlRequest& r, ControlStream& out) -> Status {
      auto n = r.query_number("n", 3);
      if (!n) return fail(n.error());
      for (uint64_t i = 0; i < *n; ++i) {
        if (!out.write(std::to_string(i) + "\n")) break;
      }
      return {};
    });
    server_.on_stream("GET", "/v1/follow", [this](const ControlRequest&, ControlStream& out) -> Status {
      out.write("first\n");
      while (!out.closed()) std::this_thread::yield();
      followers_ended_++;
      return {};
    });
    auto ok = server_.start(path_);
    ASSERT_TRUE(ok) << ok.error().message;
  }
  void TearDown() override {
    server_.stop();
    ::unlink(path_.c_str());
    ::rmdir(directory_.c_str());
  }
  ControlClient client(ControlClient::Limits limits = {}) {
    return ControlClient(ControlClient::unix_socket(path_), limits);
  }
  std::string raw(std::string_view request) {
    Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path_.data(), path_.size());
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    EXPECT_GT(::send(fd.get(), request.data(), request.size(), MSG_NOSIGNAL), 0);
    ::shutdown(fd.get(), SHUT_WR);
    std::string answer(4096, '\0');
    size_t size = 0;
    for (ssize_t n = 0; (n = ::recv(fd.get(), answer.data() + size, answer.size() - size, 0)) > 0;) {
      size += static_cast<size_t>(n);
    }
    answer.resize(size);
    return answer;
  }

  std::string directory_, path_;
  std::atomic<int> followers_ended_{0};
  ControlServer server_;
};

TEST_F(ControlTest, CallsReachTheirHandlerOverOneConnection) {
  auto c = client();
  EXPECT_EQ(c.call("GET", "/v1/echo/a%20%2Fb?tail=5").value(), R"({"name":"a /b","tail":5})");
  EXPECT_EQ(c.call("GET", "/v1/echo/x").value(), R"({"name":"x","tail":7})");
  EXPECT_EQ(c.call("POST", "/v1/size", std::string(1 << 20, 'x')).value(), "1048576");
  EXPECT_EQ(c.call("POST", "/v1/size").value(), "0");
}

TEST_F(ControlTest, ErrorsArriveAsTheyWereMade) {
  auto c = client();
  EXPECT_EQ(c.call("GET", "/v1/no").error(),
            (Error{Reason::InsufficientMemory, "cpu0 lacks 1 GiB", "stop chat"}));
  EXPECT_EQ(c.call("GET", "/v1/echo/x?tail=z").error().reason, Reason::InvalidArgument);
  EXPECT_EQ(c.call("GET", "/v1/nothing").error().reason, Reason::NotFound);
  EXPECT_EQ(c.call("DELETE", "/v1/no").error().reason, Reason::MethodNotAllowed);
  EXPECT_EQ(c.call("GET", "/v1/throw").error().reason, Reason::Internal);
  EXPECT_EQ(c.call("POST", "/v1/size", std::string(5 << 20, 'x')).error().reason, Reason::BodyTooLarge);
}

TEST_F(ControlTest, MalformedRequestsAreRefused) {
  EXPECT_TRUE(raw("garbage\r\n\r\n").starts_with("HTTP/1.1 400 "));
  EXPECT_TRUE(raw("POST /v1/size HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n")
                  .starts_with("HTTP/1.1 400 "));
  EXPECT_TRUE(raw("GET /v1/echo/%zz HTTP/1.1\r\nHost: a\r\n\r\n").starts_with("HTTP/1.1 400 "));
  EXPECT_TRUE(raw("GET /" + std::string(40000, 'a')).starts_with("HTTP/1.1 431 "));
  EXPECT_TRUE(client().call("GET", "/v1/echo/x"));  // nothing else is disturbed
}

TEST_F(ControlTest, StreamsArriveInOrderAndEnd) {
  std::string got;
  HttpCall call;
  call.path = "/v1/count?n=1000";
  call.on_data = [&](std::string_view data) { return got += data, true; };
  auto answer = client().request(call);
  ASSERT_TRUE(answer) << answer.error().message;
  EXPECT_EQ(answer->header("content-type"), "application/x-ndjson");
  EXPECT_TRUE(got.starts_with("0\n1\n"));
  EXPECT_TRUE(got.ends_with("\n999\n"));
  EXPECT_EQ(client().call("GET", "/v1/count?n=x").error().reason, Reason::InvalidArgument);
}

TEST_F(ControlTest, AFollowerThatLeavesEndsItsHandler) {
  HttpCall call;
  call.path = "/v1/follow";
  call.on_data = [](std::string_view) { return false; };
  EXPECT_EQ(client().request(call).error().reason, Reason::Cancelled);
  for (int i = 0; i < 10000 && followers_ended_ == 0; ++i) ::usleep(1000);
  EXPECT_EQ(followers_ended_, 1);
}

TEST_F(ControlTest, StopEndsFollowersAndRemovesTheSocket) {
  std::atomic<bool> started{false};
  std::thread follower([&] {
    HttpCall call;
    call.path = "/v1/follow";
    call.on_data = [&](std::string_view) { return started = true; };
    auto answer = client({.total_timeout_ms = 0}).request(call);
    EXPECT_TRUE(answer.has_value() || answer.error().reason == Reason::IoError);
  });
  while (!started) std::this_thread::yield();
  server_.stop();
  follower.join();
  EXPECT_EQ(client().call("GET", "/v1/echo/x").error().reason, Reason::DaemonUnreachable);
  EXPECT_NE(::access(path_.c_str(), F_OK), 0);
}

TEST_F(ControlTest, ASecondServerIsRefusedAndAStaleSocketReplaced) {
  ControlServer second;
  EXPECT_EQ(second.start(path_).error().reason, Reason::StateLocked);
  EXPECT_EQ(second.start("/tmp/" + std::string(200, 'x')).error().reason, Reason::InvalidArgument);
  EXPECT_TRUE(client().call("GET", "/v1/echo/x"));
  server_.stop();
  Fd stale(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  std::memcpy(address.sun_path, path_.data(), path_.size());
  ASSERT_EQ(::bind(stale.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
  EXPECT_TRUE(second.start(path_));
  struct stat info{};
  ASSERT_EQ(::stat(path_.c_str(), &info), 0);
  EXPECT_EQ(info.st_mode & 0777, 0600U);
}

TEST_F(ControlTest, SilenceTimesOutAtTheClient) {
  HttpCall call;
  call.path = "/v1/follow";
  call.on_data = [](std::string_view) { return true; };
  EXPECT_EQ(client({.total_timeout_ms = 50}).request(call).error().reason, Reason::Timeout);
}

TEST(ControlServerLimits, TooManyConnectionsAreToldSo) {
  char name[] = "/tmp/tw-control-XXXXXX";
  ASSERT_NE(::mkdtemp(name), nullptr);
  std::string path = std::string(name) + "/s";
  ControlServer server({.max_connections = 1, .max_streams = 1});
  server.on("GET", "/v1/x", [](const ControlRequest&) -> Result<std::string> { return "{}"; });
  ASSERT_TRUE(server.start(path));
  ControlClient first(ControlClient::unix_socket(path)), second(ControlClient::unix_socket(path));
  EXPECT_TRUE(first.call("GET", "/v1/x"));
  EXPECT_EQ(second.call("GET", "/v1/x").error().reason, Reason::Overloaded);
  EXPECT_TRUE(first.call("GET", "/v1/x"));
  server.stop();
  ::rmdir(name);
}

}  // namespace
}  // namespace tweendeck::net

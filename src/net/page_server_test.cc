#include "net/page_server.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <thread>

namespace tweendeck::net {
namespace {

class PageServerTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(loop.open());
    pages.add("/metrics", "text/plain", [] { return std::string(300'000, 'm'); });
    auto opened = pages.listen({"127.0.0.1", 0});
    ASSERT_TRUE(opened);
    port = *opened;
    thread = std::thread([this] { loop.run(); });
  }
  void TearDown() override {
    loop.post([this] { pages.close(); });
    loop.stop();
    thread.join();
  }
  std::string ask(std::string_view request) const {
    Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    timeval limit{20, 0};
    ::setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    EXPECT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof(address)), 0);
    for (char c : request) EXPECT_EQ(::send(fd.get(), &c, 1, MSG_NOSIGNAL), 1);
    std::string answer;
    char data[65536];
    for (ssize_t n; (n = ::recv(fd.get(), data, sizeof(data), 0)) > 0;)
      answer.append(data, static_cast<size_t>(n));
    return answer;
  }

  EventLoop loop;
  PageServer pages{loop};
  std::thread thread;
  uint16_t port = 0;
};

TEST_F(PageServerTest, AnswersWithThePage) {
  const std::string answer = ask("GET /metrics?x=y HTTP/1.1\r\nHost: a\r\n\r\n");
  EXPECT_TRUE(answer.starts_with("HTTP/1.1 200 OK\r\n"));
  EXPECT_TRUE(answer.ends_with("\r\n\r\n" + std::string(300'000, 'm')));
  EXPECT_TRUE(ask("HEAD /metrics HTTP/1.1\r\nHost: a\r\n\r\n")
                  .ends_with("Content-Length: 300000\r\nConnection: close\r\n\r\n"));
  EXPECT_TRUE(ask("GET /other HTTP/1.1\r\nHost: a\r\n\r\n").starts_with("HTTP/1.1 404 "));
  EXPECT_TRUE(ask("POST /metrics HTTP/1.1\r\nHost: a\r\n\r\n").starts_with("HTTP/1.1 405 "));
  EXPECT_TRUE(ask("nonsense\r\n\r\n").starts_with("HTTP/1.1 400 "));
}

}  // namespace
}  // namespace tweendeck::net

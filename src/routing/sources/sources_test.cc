#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include <condition_variable>
#include <map>
#include <mutex>
#include <thread>

#include "net/fd.h"
#include "routing/sources/metrics_scraper.h"
#include "routing/sources/prometheus_text.h"

namespace tweendeck::routing::sources {
namespace {

const MetricNames kVllm{"vllm:num_requests_running", "vllm:num_requests_waiting", "vllm:kv_cache_usage_perc"};

TEST(PrometheusText, ReadsVllmsPage) {
  auto load = read_load(
      "# HELP vllm:num_requests_running Number of requests\n# TYPE vllm:num_requests_running gauge\n"
      "vllm:num_requests_running{engine=\"0\",model_name=\"a } \\\" b\"} 3.0\n"
      "vllm:num_requests_running{engine=\"1\",model_name=\"a\"} 2.0 1395066363000\r\n"
      "vllm:num_requests_waiting{engine=\"0\"}\t1e1\n\n"
      "vllm:kv_cache_usage_perc{engine=\"0\"} 0.25\nvllm:kv_cache_usage_perc{engine=\"1\"} 0.75\n"
      "other_bucket{le=\"+Inf\"} NaN\n# EOF\n",
      kVllm);
  ASSERT_TRUE(load) << load.error().message;
  EXPECT_EQ(load->running, 5);
  EXPECT_EQ(load->waiting, 10);
  EXPECT_DOUBLE_EQ(load->kv_cache_usage, 0.75);
}

TEST(PrometheusText, WhatIsMissingOrNoNumberIsNotReported) {
  auto load = read_load("r NaN\nw -4\nk +Inf\n", {"r", "w", "k"});
  ASSERT_TRUE(load);
  EXPECT_EQ(load->running, -1);
  EXPECT_EQ(load->waiting, -1);
  EXPECT_DOUBLE_EQ(load->kv_cache_usage, -1);
  EXPECT_EQ(read_load("", kVllm)->running, -1);
  EXPECT_EQ(read_load("x 1\n", {})->running, -1);
}

TEST(PrometheusText, RefusesWhatIsNoPage) {
  for (const char* bad : {"<html>", "a", "a{b=\"c\" 1", "a{b=\"c} 1", "a one", "9a 1", "{} 1", "a 1x"}) {
    auto load = read_load(bad, kVllm);
    ASSERT_FALSE(load) << bad;
    EXPECT_NE(load.error().message.find("line 1"), std::string::npos);
  }
}

// Answers every connection with one page.
class PageServer {
 public:
  explicit PageServer(std::string page) : page_(std::move(page)), fd_(::socket(AF_INET, SOCK_STREAM, 0)) {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    EXPECT_EQ(::bind(fd_.get(), reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(::listen(fd_.get(), 8), 0);
    ::getsockname(fd_.get(), reinterpret_cast<sockaddr*>(&address), &size);
    port = ntohs(address.sin_port);
    thread_ = std::thread([this] {
      while (true) {
        net::Fd client(::accept(fd_.get(), nullptr, nullptr));
        if (!client) return;
        char request[4096];
        (void)!::recv(client.get(), request, sizeof(request), 0);
        (void)!::send(client.get(), page_.data(), page_.size(), MSG_NOSIGNAL);
      }
    });
  }
  ~PageServer() {
    ::shutdown(fd_.get(), SHUT_RDWR);
    thread_.join();
  }
  uint16_t port = 0;

 private:
  std::string page_;
  net::Fd fd_;
  std::thread thread_;
};

class ScraperTest : public testing::Test {
 protected:
  ScraperTest()
      : scraper_(loop_, registry_,
                 {.interval = 5 * kMillisecond, .timeout = 10 * kSecond, .max_page_bytes = 1000},
                 [this](const std::string& id, const EndpointLoad& load) {
                   std::lock_guard lock(mutex_);
                   loads_[id].push_back(load);
                   changed_.notify_all();
                 }) {
    EXPECT_TRUE(loop_.open());
    thread_ = std::thread([this] { loop_.run(); });
    scraper_.start();
  }
  ~ScraperTest() override {
    scraper_.stop();
    loop_.stop();
    thread_.join();
  }
  EndpointLoad next_load(const std::string& id) {
    std::unique_lock lock(mutex_);
    size_t seen = loads_[id].size();
    EXPECT_TRUE(changed_.wait_for(lock, std::chrono::seconds(20), [&] { return loads_[id].size() > seen; }));
    return loads_[id].empty() ? EndpointLoad{} : loads_[id].back();
  }
  net::EventLoop loop_;
  Registry registry_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::map<std::string, std::vector<EndpointLoad>> loads_;
  std::thread thread_;
  MetricsScraper scraper_;
};

TEST_F(ScraperTest, ReportsLoadAgainAndAgain) {
  PageServer sized("HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\nr 4\nw 5\n");
  PageServer until_close("HTTP/1.0 200 OK\r\n\r\nr 6\n");
  scraper_.set_target({"a", "127.0.0.1", sized.port, "/metrics", {"r", "w", "k"}});
  scraper_.set_target({"b", "127.0.0.1", until_close.port, "/metrics", {"r", "w", "k"}});
  for (int i = 0; i < 3; ++i) EXPECT_EQ(next_load("a").waiting, 5);
  EXPECT_EQ(next_load("b").running, 6);
  scraper_.remove_target("a");
  scraper_.remove_target("b");
}

TEST_F(ScraperTest, FailuresReportNothingKnown) {
  PageServer error("HTTP/1.1 500 No\r\nContent-Length: 4\r\n\r\nr 4\n");
  PageServer huge("HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + std::string(5000, '\n'));
  PageServer garbage("garbage");
  uint16_t closed_port = 0;
  {
    closed_port = PageServer("").port;
  }
  scraper_.set_target({"error", "127.0.0.1", error.port, "/metrics", {"r", "w", "k"}});
  scraper_.set_target({"huge", "127.0.0.1", huge.port, "/metrics", {"r", "w", "k"}});
  scraper_.set_target({"garbage", "127.0.0.1", garbage.port, "/metrics", {"r", "w", "k"}});
  scraper_.set_target({"closed", "127.0.0.1", closed_port, "/metrics", {"r", "w", "k"}});
  for (const char* id : {"error", "huge", "garbage", "closed"}) EXPECT_EQ(next_load(id).running, -1) << id;
}

}  // namespace
}  // namespace tweendeck::routing::sources

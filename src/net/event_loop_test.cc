#include "net/event_loop.h"

#include <gtest/gtest.h>
#include <sys/socket.h>

#include <algorithm>
#include <thread>

#include "net/listener.h"

namespace tweendeck::net {
namespace {

TEST(EventLoop, PostedWorkRunsInOrderFromManyThreads) {
  EventLoop loop;
  ASSERT_TRUE(loop.open());
  std::vector<int> last(4, -1);
  int total = 0;
  std::vector<std::thread> posters;
  for (int t = 0; t < 4; ++t) {
    posters.emplace_back([&, t] {
      for (int i = 0; i < 1000; ++i) {
        loop.post([&, t, i] {
          EXPECT_TRUE(loop.in_loop());
          EXPECT_EQ(last[static_cast<size_t>(t)], i - 1);
          last[static_cast<size_t>(t)] = i;
          if (++total == 4000) loop.stop();
        });
      }
    });
  }
  loop.run();
  for (auto& poster : posters) poster.join();
  EXPECT_EQ(total, 4000);
  EXPECT_FALSE(loop.in_loop());
}

TEST(EventLoop, TimersRunByTimeAndCanBeCancelled) {
  EventLoop loop;
  ASSERT_TRUE(loop.open());
  std::string order;
  // Due times alone give the order, also when the loop comes late to all of them.
  loop.after(20 * kMillisecond, [&] { order += 'c'; });
  loop.after(10 * kMillisecond, [&] { order += 'b'; });
  loop.after(0, [&] { order += 'a'; });
  auto never = loop.after(kMillisecond, [&] { order += 'x'; });
  loop.cancel(never);
  loop.cancel(12345);
  int ticks = 0;
  EventLoop::TimerId tick = 0;
  tick = loop.every(kMillisecond, [&] {
    if (++ticks < 3) return;
    loop.cancel(tick);  // from inside
    loop.after(30 * kMillisecond, [&] { loop.stop(); });
  });
  loop.run();
  EXPECT_EQ(order, "abc");
  EXPECT_EQ(ticks, 3);
}

// A source that removes another one which has an event in the same turn.
class Remover final : public EventSource {
 public:
  void on_events(uint32_t) override {
    ++calls;
    if (other != nullptr) loop->remove(other_fd, other);
    loop->stop();
  }
  EventLoop* loop = nullptr;
  EventSource* other = nullptr;
  int other_fd = -1;
  int calls = 0;
};

TEST(EventLoop, NoCallComesAfterRemove) {
  EventLoop loop;
  ASSERT_TRUE(loop.open());
  int a[2], b[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, a), 0);
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, b), 0);
  Fd fds[4] = {Fd(a[0]), Fd(a[1]), Fd(b[0]), Fd(b[1])};
  Remover first, second;
  first.loop = second.loop = &loop;
  first.other = &second;
  first.other_fd = b[0];
  second.other = &first;
  second.other_fd = a[0];
  ASSERT_TRUE(loop.add(a[0], &first));
  ASSERT_TRUE(loop.add(b[0], &second));
  loop.call_again(&first);
  loop.call_again(&second);
  loop.run();
  EXPECT_EQ(std::min(first.calls, second.calls), 0);  // whichever came first has silenced the other
  EXPECT_GT(first.calls + second.calls, 0);
}

TEST(Address, IsParsedStrictly) {
  EXPECT_EQ(parse_address("127.0.0.1:8080")->port, 8080);
  EXPECT_EQ(parse_address("localhost:1")->ip, "127.0.0.1");
  EXPECT_EQ(parse_address(":80")->ip, "0.0.0.0");
  EXPECT_TRUE(is_loopback(*parse_address("127.1.2.3:1")));
  EXPECT_FALSE(is_loopback(*parse_address(":1")));
  for (const char* bad : {"", "8080", "1.2.3:80", "1.2.3.4:", "1.2.3.4:65536", "1.2.3.4:8x", "host:80"}) {
    EXPECT_EQ(parse_address(bad).error().reason, Reason::InvalidArgument) << bad;
  }
}

}  // namespace
}  // namespace tweendeck::net

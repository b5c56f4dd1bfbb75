#include "app/client/slice_lease.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <fstream>
#include <optional>
#include <thread>

namespace tweendeck::client {
namespace {

TEST(SliceLease, IsHeldUntilItsProcessEndsHoweverItEnds) {
  char name[] = "/tmp/tw-lease-XXXXXX";
  ASSERT_NE(mkdtemp(name), nullptr);
  const std::string state = name;
  EXPECT_FALSE(lease_is_held(state, "a"));
  {
    Result<SliceLease> lease = SliceLease::take(state, "a");
    ASSERT_TRUE(lease);
    EXPECT_TRUE(lease_is_held(state, "a"));
    const Result<SliceLease> second = SliceLease::take(state, "a");
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().reason, Reason::AlreadyExists);
  }
  EXPECT_FALSE(lease_is_held(state, "a"));

  int ready[2];
  ASSERT_EQ(pipe(ready), 0);
  const pid_t child = fork();
  if (child == 0) {
    std::optional<Result<SliceLease>> lease(SliceLease::take(state, "b"));
    if (write(ready[1], "x", 1) != 1) _exit(1);
    pause();
  }
  char byte;
  ASSERT_EQ(read(ready[0], &byte, 1), 1);
  EXPECT_TRUE(lease_is_held(state, "b"));
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  EXPECT_FALSE(lease_is_held(state, "b"));
  EXPECT_FALSE(std::filesystem::exists(state + "/exec/b")) << "what a killed holder left is removed";
  close(ready[0]);
  close(ready[1]);
  std::filesystem::remove_all(state);
}

TEST(SliceLease, IsNoWayToOtherFiles) {
  char name[] = "/tmp/tw-lease-XXXXXX";
  ASSERT_NE(mkdtemp(name), nullptr);
  const std::string state = name;
  std::ofstream(state + "/state.db") << "kept";
  for (const char* bad : {"../state.db", "..", "", "a/b", ".hidden"}) {
    const Result<SliceLease> lease = SliceLease::take(state, bad);
    ASSERT_FALSE(lease) << bad;
    EXPECT_EQ(lease.error().reason, Reason::InvalidArgument);
  }
  EXPECT_TRUE(std::filesystem::exists(state + "/state.db"));
  std::filesystem::remove_all(state);
}

TEST(SliceLease, StaleOnesAreRemovedTogether) {
  char name[] = "/tmp/tw-lease-XXXXXX";
  ASSERT_NE(mkdtemp(name), nullptr);
  const std::string state = name;
  remove_stale_leases(state);  // no folder yet
  const Result<SliceLease> held = SliceLease::take(state, "held");
  ASSERT_TRUE(held);
  for (const char* stale : {"a", "b"}) std::ofstream(state + "/exec/" + stale).flush();
  remove_stale_leases(state);
  EXPECT_TRUE(std::filesystem::exists(state + "/exec/held"));
  EXPECT_FALSE(std::filesystem::exists(state + "/exec/a") || std::filesystem::exists(state + "/exec/b"));
  std::filesystem::remove_all(state);
}

// As many take the same name again and again, each that has it must find it held.
TEST(SliceLease, WhoHasItIsSeenToHaveItWhoeverCleansUp) {
  char name[] = "/tmp/tw-lease-XXXXXX";
  ASSERT_NE(mkdtemp(name), nullptr);
  const std::string state = name;
  std::atomic<bool> stop{false};
  std::thread cleaner([&] {
    while (!stop) remove_stale_leases(state);
  });
  int lost = 0;
  for (int i = 0; i < 500; ++i) {
    const Result<SliceLease> lease = SliceLease::take(state, "a");
    lost += !lease || !lease_is_held(state, "a");
  }
  stop = true;
  cleaner.join();
  EXPECT_EQ(lost, 0);
  std::filesystem::remove_all(state);
}

}  // namespace
}  // namespace tweendeck::client

#include "app/client/slice_lease.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <optional>

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

}  // namespace
}  // namespace tweendeck::client

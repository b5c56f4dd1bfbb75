#include "app/daemon/watchman.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

namespace tweendeck::daemon {
namespace {

using device::Finding;

struct Machine {
  std::vector<uint32_t> killed;
  std::vector<std::pair<std::string, bool>> restrained;
  Watchman::Hands hands() {
    return {.restrain =
                [this](const std::string& slice, bool on) {
                  restrained.emplace_back(slice, on);
                  return Status();
                },
            .kill =
                [this](uint32_t pid) {
                  killed.push_back(pid);
                  return Status();
                }};
  }
};

std::vector<std::string> actions(const std::vector<Watchman::Told>& told) {
  std::vector<std::string> names;
  for (const Watchman::Told& one : told) names.push_back(one.action);
  return names;
}

const Finding kBypass{Reason::SliceBypassed, "chat-1", 7, "process 7"};
const Finding kForeign{Reason::SliceBypassed, "", 8, "process 8"};
const Finding kExceeded{Reason::ShareExceeded, "chat-1", 0, "too much"};

TEST(Watchman, TellsEachFindingOnceAndWhenItIsOver) {
  Machine machine;
  Watchman watchman(TamperPolicy::Report, machine.hands());
  EXPECT_EQ(actions(watchman.act({kBypass, kForeign})),
            (std::vector<std::string>{"TamperingFound", "TamperingFound"}));
  EXPECT_TRUE(watchman.act({kBypass, kForeign}).empty());
  const auto over = watchman.act({kBypass});
  ASSERT_EQ(actions(over), std::vector<std::string>{"TamperingOver"});
  EXPECT_EQ(over[0].slice_id, "");
  EXPECT_TRUE(machine.killed.empty());
  EXPECT_TRUE(machine.restrained.empty());
}

TEST(Watchman, StopsOnlyProcessesOfSlices) {
  Machine machine;
  Watchman watchman(TamperPolicy::Stop, machine.hands());
  watchman.act({kBypass, kForeign});
  EXPECT_EQ(machine.killed, std::vector<uint32_t>{7});
  watchman.act({kExceeded});
  EXPECT_EQ(machine.restrained.size(), 1u) << "a whole slice is slowed down, not killed";
}

TEST(Watchman, ThrottlesUntilItIsOver) {
  Machine machine;
  Watchman watchman(TamperPolicy::Throttle, machine.hands());
  watchman.act({kBypass, kExceeded});
  watchman.act({kExceeded});
  EXPECT_EQ(machine.restrained, (std::vector<std::pair<std::string, bool>>{{"chat-1", true}}));
  EXPECT_EQ(actions(watchman.act({})), (std::vector<std::string>{"TamperingOver", "LetGo"}));
  EXPECT_FALSE(machine.restrained.back().second);
  EXPECT_TRUE(machine.killed.empty());
}

TEST(Watchman, KillsTheProcessItIsTold) {
  const pid_t child = fork();
  if (child == 0) pause();
  EXPECT_TRUE(kill_process(static_cast<uint32_t>(child)));
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_FALSE(kill_process(static_cast<uint32_t>(child)));
}

}  // namespace
}  // namespace tweendeck::daemon

// On the machine's own cgroup v1 hierarchies; skipped where this process may not write them or the machine
// has v2.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <fstream>

#include "device/cgroup/groups.h"

namespace tweendeck::device {
namespace {

constexpr uint64_t kMiB = 1 << 20;

std::string text_of(const std::string& path) {
  std::ifstream file(path);
  std::string text;
  std::getline(file, text);
  return text;
}

class GroupsOnThisMachine : public ::testing::Test {
 protected:
  void SetUp() override {
    Result<std::unique_ptr<Groups>> groups = Groups::open(kernel_, "/", "test " + std::to_string(::getpid()));
    if (!groups) GTEST_SKIP() << to_string(groups.error());
    groups_ = std::move(*groups);
  }
  void TearDown() override {
    if (groups_ == nullptr) return;
    for (const std::string& id : groups_->list()) EXPECT_TRUE(groups_->remove(id));
    groups_->remove_empty_base();
  }

  // A child that joins the group and waits to be killed.
  pid_t start_inside(const std::vector<std::string>& procs) {
    int ready[2];
    EXPECT_EQ(::pipe(ready), 0);
    pid_t child = ::fork();
    if (child == 0) {
      std::string pid = std::to_string(::getpid());
      for (const std::string& path : procs) {
        if (kernel_.write(path, pid) != 0) ::_exit(1);
      }
      (void)!::write(ready[1], "x", 1);
      for (;;) ::pause();
    }
    ::close(ready[1]);
    char byte;
    EXPECT_EQ(::read(ready[0], &byte, 1), 1);
    ::close(ready[0]);
    return child;
  }

  Kernel kernel_;
  std::unique_ptr<Groups> groups_;
};

TEST_F(GroupsOnThisMachine, LimitsAreInTheKernel) {
  GroupLimits limits{.memory_bytes = 64 * kMiB + 5, .cpu_milli = 250, .cpus = "0", .mems = "0"};
  Result<std::vector<std::string>> procs = groups_->create("chat-1", limits);
  ASSERT_TRUE(procs) << to_string(procs.error());
  if (groups_->version() != 1) GTEST_SKIP() << "the files read here are those of cgroup v1";
  std::string all;
  for (std::string path : *procs) {
    path.resize(path.rfind('/'));
    all += text_of(path + "/memory.limit_in_bytes") + " " + text_of(path + "/cpu.cfs_quota_us") + " " +
           text_of(path + "/cpuset.cpus") + ";";
  }
  EXPECT_NE(all.find("67108864 "), std::string::npos) << all;
  EXPECT_NE(all.find(" 25000 "), std::string::npos) << all;
  EXPECT_NE(all.find(" 0;"), std::string::npos) << all;
}

TEST_F(GroupsOnThisMachine, WithoutACpuLimitTheOneBeforeIsLifted) {
  for (const uint64_t cpu_milli : {10, 0}) {
    Result<std::vector<std::string>> procs =
        groups_->create("chat-1", {.memory_bytes = 0, .cpu_milli = cpu_milli});
    ASSERT_TRUE(procs) << to_string(procs.error());
    if (groups_->version() != 1) GTEST_SKIP() << "the files read here are those of cgroup v1";
    std::string all;
    for (std::string path : *procs) {
      path.resize(path.rfind('/'));
      all += " " + text_of(path + "/cpu.cfs_quota_us") + " " + text_of(path + "/cpu.shares");
    }
    EXPECT_NE(all.find(cpu_milli == 0 ? " -1 1024" : " 1000 10"), std::string::npos) << all;
  }
}

TEST_F(GroupsOnThisMachine, CanBeMadeLargerAndSmallerAgain) {
  for (uint64_t mebibytes : {64, 256, 32}) {
    Result<std::vector<std::string>> procs =
        groups_->create("chat-1", {.memory_bytes = mebibytes * kMiB, .cpu_milli = mebibytes});
    EXPECT_TRUE(procs) << to_string(procs.error());
  }
}

TEST_F(GroupsOnThisMachine, RemoveKillsWhatRunsInside) {
  Result<std::vector<std::string>> procs = groups_->create("chat-1", {.memory_bytes = 64 * kMiB});
  ASSERT_TRUE(procs);
  pid_t child = start_inside(*procs);
  EXPECT_EQ(groups_->processes("chat-1"), std::vector<pid_t>{child});
  EXPECT_GT(groups_->usage("chat-1")->cpu_ns, 0u);
  Status removed = groups_->remove("chat-1");
  EXPECT_TRUE(removed) << to_string(removed.error());
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_TRUE(WIFSIGNALED(status));
  EXPECT_EQ(WTERMSIG(status), SIGKILL);
  EXPECT_TRUE(groups_->list().empty());
}

TEST_F(GroupsOnThisMachine, ASecondInstanceFindsTheGroups) {
  ASSERT_TRUE(groups_->create("chat-1", {}));
  Result<std::unique_ptr<Groups>> again = Groups::open(kernel_, "/", "test " + std::to_string(::getpid()));
  ASSERT_TRUE(again);
  EXPECT_EQ((*again)->list(), std::vector<std::string>{"chat-1"});
}

TEST_F(GroupsOnThisMachine, ACpuThatDoesNotExistIsRefused) {
  Result<std::vector<std::string>> procs = groups_->create("chat-1", {.cpus = "60000"});
  ASSERT_FALSE(procs);
  EXPECT_EQ(procs.error().reason, Reason::CgroupLimitNotApplied);
  EXPECT_TRUE(groups_->list().empty());
}

}  // namespace
}  // namespace tweendeck::device

#include <gtest/gtest.h>

#include "device/cgroup/fake_kernel.h"
#include "device/cgroup/groups.h"

namespace tweendeck::device {
namespace {

constexpr uint64_t kMiB = 1 << 20;
const std::string kName = base_group_name("/var/lib/tweendeck");

std::unique_ptr<Groups> opened(FakeKernel& kernel) {
  Result<std::unique_ptr<Groups>> groups = Groups::open(kernel, "/", "/var/lib/tweendeck");
  EXPECT_TRUE(groups) << to_string(groups.error());
  return groups ? std::move(*groups) : nullptr;
}

GroupLimits limits() {
  return {.memory_bytes = 64 * kMiB + 1, .cpu_milli = 800, .cpus = "0-3", .mems = "0"};
}

TEST(GroupsV2, WritesEveryLimit) {
  FakeKernel kernel("/");
  auto groups = opened(kernel);
  Result<std::vector<std::string>> procs = groups->create("chat-1", limits());
  ASSERT_TRUE(procs) << to_string(procs.error());
  std::string folder = "/cg/" + kName + "/chat-1";
  EXPECT_EQ(*procs, std::vector<std::string>{folder + "/cgroup.procs"});
  EXPECT_EQ(groups->version(), 2);
  EXPECT_EQ(kernel.files[folder + "/memory.max"], "67108864\n");
  EXPECT_EQ(kernel.files[folder + "/memory.swap.max"], "0\n");
  EXPECT_EQ(kernel.files[folder + "/memory.oom.group"], "1\n");
  EXPECT_EQ(kernel.files[folder + "/cpu.max"], "80000 100000\n");
  EXPECT_EQ(kernel.files[folder + "/cpu.weight"], "80\n");
  EXPECT_EQ(kernel.files[folder + "/cpuset.cpus"], "0-3\n");
  EXPECT_EQ(kernel.files[folder + "/cpuset.mems"], "0\n");
  EXPECT_EQ(kernel.files["/cg/" + kName + "/cpu.weight"], "6400\n");  // 4 CPUs x 16 tasks x 100
  EXPECT_EQ(groups->list(), std::vector<std::string>{"chat-1"});
}

TEST(GroupsV2, AGroupWithoutLimitsOnlyTracks) {
  FakeKernel kernel("/");
  auto groups = opened(kernel);
  ASSERT_TRUE(groups->create("chat-1", {}));
  EXPECT_EQ(kernel.files["/cg/" + kName + "/chat-1/memory.max"], "max\n");
  EXPECT_EQ(kernel.files["/cg/" + kName + "/chat-1/cpu.max"], "max 100000\n");
}

TEST(GroupsV2, WithoutACpuLimitTheOneBeforeIsLifted) {
  FakeKernel kernel("/");
  auto groups = opened(kernel);
  const std::string folder = "/cg/" + kName + "/chat-1";
  ASSERT_TRUE(groups->create("chat-1", {.cpu_milli = 10}));
  EXPECT_EQ(kernel.files[folder + "/cpu.max"], "1000 100000\n");
  ASSERT_TRUE(groups->create("chat-1", {}));
  EXPECT_EQ(kernel.files[folder + "/cpu.max"], "max 100000\n");
  EXPECT_EQ(kernel.files[folder + "/cpu.weight"], "100\n");
}

TEST(GroupsV2, GoesUpToTheNearestGroupThatCanShareOut) {
  FakeKernel kernel("/unit/daemon");
  kernel.add_process("/cg/unit/daemon", 100);  // this daemon: its group may not give controllers away
  ASSERT_EQ(kernel.write("/cg/cgroup.subtree_control", "+cpu +cpuset +memory"), 0);
  auto groups = opened(kernel);
  ASSERT_TRUE(groups->create("chat-1", limits()));
  EXPECT_TRUE(kernel.groups.contains("/cg/unit/" + kName + "/chat-1"));
}

TEST(GroupsV2, FindsTheGroupOfAnEarlierDaemonElsewhere) {
  FakeKernel kernel("/session-2");
  kernel.make_folder("/cg/session-1");
  kernel.make_folder("/cg/session-1/" + kName);
  kernel.make_folder("/cg/session-1/" + kName + "/chat-1");
  for (const char* group : {"/cg", "/cg/session-1"}) {
    kernel.write(std::string(group) + "/cgroup.subtree_control", "+cpu +cpuset +memory");
  }
  EXPECT_EQ(opened(kernel)->list(), std::vector<std::string>{"chat-1"});
}

TEST(GroupsV2, SaysWhyNothingCanBeWritten) {
  FakeKernel kernel("/session-2");
  kernel.refusals["/cg/session-2/cgroup.subtree_control"] = EACCES;
  kernel.refusals["/cg/cgroup.subtree_control"] = EACCES;
  Result<std::unique_ptr<Groups>> groups = Groups::open(kernel, "/", "/var/lib/tweendeck");
  ASSERT_FALSE(groups);
  EXPECT_EQ(groups.error().reason, Reason::CgroupUnavailable);
  EXPECT_NE(groups.error().message.find("/cg/session-2/cgroup.subtree_control"), std::string::npos);
  EXPECT_FALSE(groups.error().hint.empty());
}

TEST(GroupsV2, ALimitThatDidNotTakeIsAnErrorAndLeavesNothing) {
  for (std::string file : {"memory.max", "cpu.max", "cpuset.cpus", "memory.oom.group"}) {
    FakeKernel kernel("/");
    auto groups = opened(kernel);
    kernel.ignored.insert("/cg/" + kName + "/chat-1/" + file);
    Result<std::vector<std::string>> procs = groups->create("chat-1", limits());
    ASSERT_FALSE(procs) << file;
    EXPECT_EQ(procs.error().reason, Reason::CgroupLimitNotApplied);
    EXPECT_NE(procs.error().message.find(file), std::string::npos);
    EXPECT_TRUE(groups->list().empty()) << file;
  }
}

TEST(GroupsV2, AFailedUpdateDoesNotKillWhatRuns) {
  FakeKernel kernel("/");
  auto groups = opened(kernel);
  ASSERT_TRUE(groups->create("chat-1", limits()));
  kernel.add_process("/cg/" + kName + "/chat-1", 4242);
  kernel.refusals["/cg/" + kName + "/chat-1/memory.max"] = EBUSY;
  EXPECT_FALSE(groups->create("chat-1", limits()));
  EXPECT_EQ(groups->processes("chat-1"), std::vector<pid_t>{4242});
}

TEST(GroupsV2, RemovesProcessesAndSubgroups) {
  FakeKernel kernel("/");
  auto groups = opened(kernel);
  std::string folder = "/cg/" + kName + "/chat-1";
  ASSERT_TRUE(groups->create("chat-1", limits()));
  kernel.make_folder(folder + "/inner");
  kernel.add_process(folder, 4242);
  kernel.add_process(folder + "/inner", 4243);
  EXPECT_EQ(groups->processes("chat-1"), (std::vector<pid_t>{4242, 4243}));
  EXPECT_TRUE(groups->remove("chat-1"));
  EXPECT_TRUE(groups->list().empty());
  EXPECT_TRUE(groups->remove("chat-1"));
  groups->remove_empty_base();
  EXPECT_FALSE(kernel.groups.contains("/cg/" + kName));
  EXPECT_TRUE(groups->create("chat-2", limits()));
}

TEST(GroupsV2, KillsOneByOneWhereTheKernelHasNoKillFile) {
  FakeKernel kernel("/");
  auto groups = opened(kernel);
  std::string folder = "/cg/" + kName + "/chat-1";
  ASSERT_TRUE(groups->create("chat-1", limits()));
  kernel.files.erase(folder + "/cgroup.kill");
  kernel.add_process(folder, 4242);
  EXPECT_TRUE(groups->remove("chat-1"));
  EXPECT_EQ(kernel.killed, std::vector<pid_t>{4242});
}

TEST(GroupsV2, AProcessThatDoesNotDieIsATimeoutInBoundedTime) {
  FakeKernel kernel("/");
  auto groups = opened(kernel);
  ASSERT_TRUE(groups->create("chat-1", limits()));
  kernel.add_process("/cg/" + kName + "/chat-1", 4242);
  kernel.immortal.insert(4242);
  Status removed = groups->remove("chat-1");
  ASSERT_FALSE(removed);
  EXPECT_EQ(removed.error().reason, Reason::Timeout);
  EXPECT_LE(kernel.paused, kRemoveAttempts * kRemovePause);
}

TEST(GroupsV2, NeverKillsItselfOrItsProcessGroup) {
  FakeKernel kernel("/");
  auto groups = opened(kernel);
  std::string folder = "/cg/" + kName + "/chat-1";
  ASSERT_TRUE(groups->create("chat-1", limits()));
  kernel.files[folder + "/cgroup.procs"] = "0\n1\n" + std::to_string(::getpid()) + "\nnonsense\n-5\n77\n";
  EXPECT_EQ(groups->processes("chat-1"), std::vector<pid_t>{77});
}

TEST(GroupsV2, AfterAnOomItSparesWhatIsMarkedNeverToBeKilled) {
  FakeKernel kernel("/");
  auto groups = opened(kernel);
  ASSERT_TRUE(groups->create("chat-1", limits()));
  for (pid_t pid : {501, 502}) kernel.add_process("/cg/" + kName + "/chat-1", pid);
  kernel.files["/proc/501/oom_score_adj"] = "-1000\n";
  kernel.files["/proc/502/oom_score_adj"] = "0\n";
  EXPECT_TRUE(groups->kill_after_oom("chat-1"));
  EXPECT_EQ(kernel.killed, std::vector<pid_t>{502});
}

TEST(GroupsV2, ReadsUsage) {
  FakeKernel kernel("/");
  auto groups = opened(kernel);
  std::string folder = "/cg/" + kName + "/chat-1";
  ASSERT_TRUE(groups->create("chat-1", limits()));
  kernel.files[folder + "/memory.current"] = "1000\n";
  kernel.files[folder + "/memory.peak"] = "2000\n";
  kernel.files[folder + "/memory.events"] = "low 0\nhigh 0\nmax 7\noom 2\noom_kill 1\noom_group_kill 1\n";
  kernel.files[folder + "/cpu.stat"] =
      "usage_usec 5000\nuser_usec 1\nsystem_usec 2\nnr_throttled 3\nthrottled_usec 40\n";
  Result<GroupUsage> usage = groups->usage("chat-1");
  ASSERT_TRUE(usage);
  EXPECT_EQ(usage->memory_bytes, 1000u);
  EXPECT_EQ(usage->memory_peak_bytes, 2000u);
  EXPECT_EQ(usage->memory_refusals, 7u);
  EXPECT_EQ(usage->oom_kills, 1u);
  EXPECT_EQ(usage->cpu_ns, 5'000'000u);
  EXPECT_EQ(usage->throttled_ns, 40'000u);
  EXPECT_EQ(groups->usage("chat-2").error().reason, Reason::NotFound);
}

TEST(GroupsV2, KnowsTheLimitsAroundIt) {
  FakeKernel kernel("/box");
  ASSERT_EQ(kernel.write("/cg/cgroup.subtree_control", "+cpu +cpuset +memory"), 0);
  kernel.files["/cg/box/memory.max"] = "1073741824\n";
  kernel.files["/cg/box/cpu.max"] = "150000 100000\n";
  auto groups = opened(kernel);
  EXPECT_EQ(groups->memory_limit_bytes(), 1073741824u);
  EXPECT_EQ(groups->cpu_limit_milli(), 1500u);
  FakeKernel free_kernel("/");
  auto free_groups = opened(free_kernel);
  EXPECT_EQ(free_groups->memory_limit_bytes(), kUnlimited);
  EXPECT_EQ(free_groups->cpu_limit_milli(), kUnlimited);
}

TEST(Groups, AMachineWithoutCgroupsIsUnavailable) {
  FakeKernel kernel("/");
  kernel.files["/proc/self/mountinfo"] = "22 1 8:1 / / rw - ext4 /dev/vda rw\n";
  EXPECT_EQ(Groups::open(kernel, "/", "/state").error().reason, Reason::CgroupUnavailable);
  kernel.files.erase("/proc/self/mountinfo");
  EXPECT_EQ(Groups::open(kernel, "/", "/state").error().reason, Reason::CgroupUnavailable);
}

TEST(Groups, NamesDependOnTheStateDirectory) {
  EXPECT_NE(base_group_name("/a"), base_group_name("/b"));
  EXPECT_EQ(base_group_name("/a"), base_group_name("/a"));
}

}  // namespace
}  // namespace tweendeck::device

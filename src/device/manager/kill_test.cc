// The manager with real cgroups and a real kill -9. Skipped where no cgroup can be written.
#include <gtest/gtest.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <filesystem>
#include <memory>
#include <optional>

#include "device/manager/device_manager.h"
#include "device/manager/folder_provider.h"
#include "device/providers/cpu/cpu_provider.h"

namespace tweendeck::device {
namespace {

constexpr int kRounds = 25;
constexpr Nanos kLongestLife = 25 * kMillisecond;

// A daemon's device part on a state directory: providers, journal, manager.
struct Daemon {
  explicit Daemon(const std::string& state) {
    Result<std::unique_ptr<Groups>> opened = Groups::open(kernel, "/", state);
    if (!opened) return;
    groups = std::move(*opened);
    cpu.emplace(kernel, groups.get());
    folders.emplace(state + "/machine", never);
    Result<Journal> journal = Journal::open(state + "/slices.journal", disk);
    if (journal) manager.emplace(std::vector<Provider*>{&*cpu, &*folders}, std::move(*journal), groups.get());
  }

  Kernel kernel;
  Disk disk;
  CrashPoint never;
  std::unique_ptr<Groups> groups;
  std::optional<CpuProvider> cpu;
  std::optional<FolderProvider> folders;
  std::optional<DeviceManager> manager;
};

Slice slice_named(const std::string& id, const char* device_id) {
  return {.id = id,
          .device_id = device_id,
          .share = {.memory_bytes = 64 << 20, .compute_percent = 10, .priority = 0},
          .owner = id,
          .deployment = "chat"};
}

// A process inside the slice that stays until it is killed.
pid_t start_inside(Kernel& kernel, const Preparation& preparation) {
  pid_t child = ::fork();
  if (child != 0) return child;
  for (const std::string& path : preparation.cgroup_procs) {
    // The parent may be dead and its slice removed already: what cannot join its slice must not run.
    if (kernel.write(path, std::to_string(::getpid())) != 0) ::_exit(1);
  }
  for (;;) ::pause();
}

// Makes and removes slices with processes inside until it is killed.
[[noreturn]] void live(const std::string& state) {
  Daemon daemon(state);
  daemon.manager->recover();
  ::signal(SIGCHLD, SIG_IGN);
  for (int i = 0;; ++i) {
    std::string id = "s" + std::to_string(i % 3);
    Result<Preparation> made = daemon.manager->prepare(slice_named(id, i % 2 == 0 ? "cpu0" : "disk0"));
    if (made) start_inside(daemon.kernel, *made);
    daemon.manager->release("s" + std::to_string((i + 2) % 3));
  }
}

class KillTest : public ::testing::Test {
 protected:
  void SetUp() override {
    char name[] = "/tmp/tw-kill-XXXXXX";
    state_ = ::mkdtemp(name);
    std::filesystem::create_directory(state_ + "/machine");
    Kernel kernel;
    Result<std::unique_ptr<Groups>> groups = Groups::open(kernel, "/", state_);
    if (!groups) GTEST_SKIP() << to_string(groups.error());
  }
  void TearDown() override { std::filesystem::remove_all(state_); }
  std::string state_;
};

TEST_F(KillTest, NothingLeaksAfterKillMinusNine) {
  Random random(20261122);
  size_t adopted = 0;
  for (int round = 0; round < kRounds; ++round) {
    pid_t child = ::fork();
    if (child == 0) live(state_);
    Kernel().pause(static_cast<Nanos>(random.below(kLongestLife)));
    ASSERT_EQ(::kill(child, SIGKILL), 0);
    ASSERT_EQ(::waitpid(child, nullptr, 0), child);

    Daemon daemon(state_);
    ASSERT_TRUE(daemon.manager);
    daemon.manager->recover();
    std::vector<std::string> journal;
    for (const SliceEntry& entry : daemon.manager->slices()) {
      EXPECT_EQ(entry.state, SliceState::Prepared) << "round " << round;
      journal.push_back(entry.slice.id);
    }
    EXPECT_EQ(daemon.groups->list(), journal) << "round " << round;
    adopted += journal.size();
  }
  EXPECT_GT(adopted, 0u);  // else every child died before it made anything
  Daemon daemon(state_);
  for (const SliceEntry& entry : daemon.manager->slices())
    EXPECT_TRUE(daemon.manager->release(entry.slice.id));
  EXPECT_TRUE(daemon.groups->list().empty());
  EXPECT_TRUE(std::filesystem::is_empty(state_ + "/machine"));
}

TEST_F(KillTest, SlicesOfOtherProvidersAreTrackedByAGroupOfTheirOwn) {
  Daemon daemon(state_);
  Result<Preparation> made = daemon.manager->prepare(slice_named("soft", "disk0"));
  ASSERT_TRUE(made) << to_string(made.error());
  EXPECT_FALSE(made->cgroup_procs.empty());
  EXPECT_EQ(made->isolation, Isolation::Library);
  pid_t child = start_inside(daemon.kernel, *made);
  for (int i = 0; i < 1000 && daemon.groups->processes("soft").empty(); ++i)
    daemon.kernel.pause(kMillisecond);
  EXPECT_TRUE(daemon.manager->release("soft"));
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  EXPECT_EQ(WTERMSIG(status), SIGKILL);
}

}  // namespace
}  // namespace tweendeck::device

#include "device/manager/device_manager.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <optional>
#include <thread>

#include "device/manager/folder_provider.h"

namespace tweendeck::device {
namespace {

constexpr int kSecondCrashEvery = 5;

Slice slice_named(const std::string& id, uint32_t percent = 20) {
  return {.id = id,
          .device_id = "disk0",
          .share = {.memory_bytes = 1 << 20, .compute_percent = percent, .priority = 0},
          .owner = id,
          .deployment = "chat"};
}

class NoSpaceDisk final : public Disk {
 public:
  Status write_at(int fd, uint64_t offset, std::string_view bytes) override {
    return is_full ? fail(system_error(ENOSPC, "writing")) : Disk::write_at(fd, offset, bytes);
  }
  bool is_full = false;
};

// A state folder that outlives managers, and one manager on it at a time.
class ManagerTest : public ::testing::Test {
 protected:
  ManagerTest() {
    char name[] = "/tmp/tw-manager-XXXXXX";
    state_ = ::mkdtemp(name);
    std::filesystem::create_directory(machine());
  }
  ~ManagerTest() override {
    manager_.reset();
    std::filesystem::remove_all(state_);
  }

  std::string machine() const { return state_ + "/machine"; }
  void start(Disk& disk, CrashPoint& point) {
    manager_.reset();
    provider_.emplace(machine(), point);
    Result<Journal> journal = Journal::open(state_ + "/slices.journal", disk);
    ASSERT_TRUE(journal) << to_string(journal.error());
    manager_.emplace(std::vector<Provider*>{&*provider_}, std::move(*journal), nullptr);
  }
  void start() { start(disk_, never_); }
  std::vector<SliceEvent> restart() {
    start();
    return manager_->recover();
  }
  std::set<std::string> on_machine() {
    std::vector<std::string> ids = *provider_->prepared();
    return {ids.begin(), ids.end()};
  }
  // Every slice of the journal is prepared, and the machine has exactly those.
  void expect_agreement(const std::string& context) {
    std::set<std::string> ids;
    for (const SliceEntry& entry : manager_->slices()) {
      EXPECT_EQ(entry.state, SliceState::Prepared) << context << ": " << entry.slice.id;
      EXPECT_TRUE(std::filesystem::exists(machine() + "/" + entry.slice.id + "/inner")) << context;
      ids.insert(entry.slice.id);
    }
    EXPECT_EQ(on_machine(), ids) << context;
  }

  std::string state_;
  NoSpaceDisk disk_;
  CrashPoint never_;
  std::optional<FolderProvider> provider_;
  std::optional<DeviceManager> manager_;
};

TEST_F(ManagerTest, PreparesListsAndReleases) {
  start();
  Result<Preparation> made = manager_->prepare(slice_named("a"));
  ASSERT_TRUE(made) << to_string(made.error());
  EXPECT_EQ(made->env, (std::vector<EnvVar>{{"FOLDER", "a"}}));
  ASSERT_EQ(manager_->slices().size(), 1u);
  EXPECT_EQ(manager_->slices()[0].provider, "folder");
  EXPECT_EQ(manager_->slices()[0].slice.isolation, Isolation::Library);
  EXPECT_TRUE(manager_->usage("a"));
  EXPECT_TRUE(manager_->release("a"));
  EXPECT_TRUE(manager_->slices().empty());
  EXPECT_TRUE(on_machine().empty());
  EXPECT_EQ(manager_->usage("a").error().reason, Reason::NotFound);
}

TEST_F(ManagerTest, IsIdempotentPerId) {
  start();
  Result<Preparation> made = manager_->prepare(slice_named("a"));
  EXPECT_EQ(*manager_->prepare(slice_named("a")), *made);
  EXPECT_EQ(manager_->prepare(slice_named("a", 30)).error().reason, Reason::AlreadyExists);
  EXPECT_EQ(manager_->slices()[0].slice.share.compute_percent, 20u);
  EXPECT_TRUE(manager_->release("a"));
  EXPECT_TRUE(manager_->release("a"));
  EXPECT_TRUE(manager_->release("never"));
}

TEST_F(ManagerTest, RefusesBadIdsAndUnknownDevices) {
  start();
  EXPECT_EQ(manager_->prepare(slice_named("../a")).error().reason, Reason::InvalidArgument);
  Slice elsewhere = slice_named("a");
  elsewhere.device_id = "gpu7";
  EXPECT_EQ(manager_->prepare(elsewhere).error().reason, Reason::NotFound);
  EXPECT_TRUE(manager_->slices().empty());
}

TEST_F(ManagerTest, AFailedPrepareLeavesNothing) {
  start();
  provider_->prepare_fails = true;
  EXPECT_EQ(manager_->prepare(slice_named("a")).error().reason, Reason::DriverError);
  expect_agreement("after a failed prepare");
  EXPECT_TRUE(manager_->slices().empty());
  provider_->prepare_fails = false;
  EXPECT_TRUE(manager_->prepare(slice_named("a")));
}

TEST_F(ManagerTest, AFailedReleaseIsTriedAgain) {
  start();
  ASSERT_TRUE(manager_->prepare(slice_named("a")));
  provider_->unprepare_fails = true;
  EXPECT_FALSE(manager_->release("a"));
  EXPECT_EQ(manager_->slices()[0].state, SliceState::Releasing);
  EXPECT_EQ(manager_->tend().at(0).reason, Reason::DriverError);
  EXPECT_TRUE(manager_->tend().empty()) << "told once";
  provider_->unprepare_fails = false;
  EXPECT_EQ(manager_->tend().size(), 1u);
  EXPECT_TRUE(manager_->slices().empty());
  EXPECT_TRUE(manager_->tend().empty());
}

TEST_F(ManagerTest, AFullDiskRefusesWithoutTouchingTheMachine) {
  start();
  ASSERT_TRUE(manager_->prepare(slice_named("kept")));
  disk_.is_full = true;
  EXPECT_EQ(manager_->prepare(slice_named("a")).error().reason, Reason::DiskFull);
  EXPECT_EQ(manager_->release("kept").error().reason, Reason::DiskFull);
  expect_agreement("on a full disk");
  EXPECT_EQ(manager_->slices().size(), 1u);
  disk_.is_full = false;
  EXPECT_TRUE(manager_->prepare(slice_named("a")));
  EXPECT_TRUE(manager_->release("kept"));
  restart();
  expect_agreement("after the disk was freed");
}

TEST_F(ManagerTest, ARestartAdoptsRebuildsAndRemoves) {
  start();
  for (const char* id : {"adopted", "lost"}) ASSERT_TRUE(manager_->prepare(slice_named(id)));
  manager_.reset();
  std::filesystem::remove_all(machine() + "/lost");
  std::filesystem::create_directories(machine() + "/stranger/inner");
  std::vector<SliceEvent> events = restart();
  expect_agreement("after the restart");
  EXPECT_EQ(on_machine(), (std::set<std::string>{"adopted", "lost"}));
  ASSERT_EQ(events.size(), 2u);
  EXPECT_EQ(events[0].reason, Reason::SliceLeaked);
  EXPECT_EQ(events[0].slice_id, "stranger");
  EXPECT_EQ(events[1].slice_id, "lost");
}

TEST_F(ManagerTest, AnAdoptedSliceTellsItsIsolationOfToday) {
  start();
  ASSERT_TRUE(manager_->prepare(slice_named("a")));
  start();
  provider_->isolation = Isolation::None;
  manager_->recover();
  EXPECT_EQ(manager_->slices()[0].slice.isolation, Isolation::None);
  start();
  provider_->prepare_fails = true;
  std::vector<SliceEvent> events = manager_->recover();
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].reason, Reason::DriverError);
  EXPECT_EQ(manager_->slices()[0].slice.isolation_reason, Reason::DriverError);
}

TEST_F(ManagerTest, AProviderThatFailsIsTold) {
  start();
  provider_->discover_fails = true;
  std::vector<SliceEvent> problems;
  EXPECT_TRUE(manager_->discover(&problems).empty());
  ASSERT_EQ(problems.size(), 1u);
  EXPECT_EQ(problems[0].reason, Reason::DriverError);
}

TEST_F(ManagerTest, ASliceOfAProviderThatIsGoneCanBeReleased) {
  start();
  ASSERT_TRUE(manager_->prepare(slice_named("a")));
  manager_.reset();
  Result<Journal> journal = Journal::open(state_ + "/slices.journal", disk_);
  manager_.emplace(std::vector<Provider*>{}, std::move(*journal), nullptr);
  EXPECT_EQ(manager_->recover().at(0).reason, Reason::NotFound);
  EXPECT_EQ(manager_->prepare(slice_named("a")).error().reason, Reason::NotFound);
  EXPECT_TRUE(manager_->release("a"));
  EXPECT_EQ(restart().at(0).reason, Reason::SliceLeaked);  // its provider is back and finds the rest
  EXPECT_TRUE(on_machine().empty());
}

// Stops at every step of a life with several slices, then at every step of the recovery from that.
TEST_F(ManagerTest, ACrashAtAnyStepLeavesNothingBehind) {
  auto life = [&](std::set<std::string>& must_exist, std::set<std::string>& must_not_exist) {
    for (const char* id : {"a", "b"}) {
      if (manager_->prepare(slice_named(id))) must_exist.insert(id);
    }
    must_exist.erase("a");
    if (manager_->release("a")) must_not_exist.insert("a");
    provider_->prepare_fails = true;
    (void)manager_->prepare(slice_named("refused"));
    must_not_exist.insert("refused");
  };
  int crashes = 0;
  for (int step = 0;; ++step) {
    bool crashed = false;
    int second_step = 0;
    for (bool second_crashed = true; second_crashed; ++second_step) {
      std::filesystem::remove(state_ + "/slices.journal");
      std::filesystem::remove_all(machine());
      std::filesystem::create_directory(machine());
      std::set<std::string> must_exist;
      std::set<std::string> must_not_exist;
      CrashPoint point(step);
      CrashingDisk disk(point);
      crashed = second_crashed = false;
      try {
        start(disk, point);
        life(must_exist, must_not_exist);
      } catch (const Crash&) {
        crashed = true;
      }
      // Every second crash after every first would only take longer.
      CrashPoint second_point(step % kSecondCrashEvery == 0 ? second_step : -1);
      CrashingDisk second_disk(second_point);
      try {
        start(second_disk, second_point);
        manager_->recover();
      } catch (const Crash&) {
        second_crashed = true;
      }
      restart();
      std::string context = "step " + std::to_string(step) + ", then step " + std::to_string(second_step);
      expect_agreement(context);
      std::set<std::string> exist = on_machine();
      EXPECT_TRUE(std::ranges::includes(exist, must_exist)) << context;
      for (const std::string& id : must_not_exist) EXPECT_FALSE(exist.contains(id)) << context << ": " << id;
    }
    if (!crashed) break;
    ++crashes;
  }
  EXPECT_GT(crashes, 40);
}

TEST_F(ManagerTest, AResizedSliceKeepsItsShareOverRestarts) {
  start();
  ASSERT_TRUE(manager_->prepare(slice_named("a")));
  Share share = slice_named("a").share;
  share.compute_percent = 35;
  share.ceiling_percent = 90;
  share.memory_wait_ms = 7;
  std::vector<SliceEvent> events;
  ASSERT_TRUE(manager_->resize("a", share, true, &events));
  EXPECT_TRUE(events.empty());
  EXPECT_EQ(provider_->made["a"].share, share);
  restart();
  EXPECT_EQ(provider_->made["a"].share, share);
  EXPECT_TRUE(provider_->made["a"].paused);
  EXPECT_EQ(manager_->slices().front().slice.share, share);
  const Result<Slice> unknown = manager_->resize("b", share, false, nullptr);
  ASSERT_FALSE(unknown);
  EXPECT_EQ(unknown.error().reason, Reason::NotFound);
}

TEST_F(ManagerTest, AResizeThatTheProviderRefusesChangesNothing) {
  start();
  ASSERT_TRUE(manager_->prepare(slice_named("a")));
  Share share = slice_named("a").share;
  share.compute_percent = 35;
  provider_->prepare_fails = true;
  EXPECT_FALSE(manager_->resize("a", share, false, nullptr));
  provider_->prepare_fails = false;
  EXPECT_EQ(manager_->slices().front().slice.share, slice_named("a").share);
  restart();
  EXPECT_EQ(provider_->made["a"].share, slice_named("a").share);
}

TEST_F(ManagerTest, ShrinkingBelowUseIsPressureUntilItIsFreed) {
  start();
  ASSERT_TRUE(manager_->prepare(slice_named("a")));
  provider_->used_bytes = 1 << 20;
  Share share = slice_named("a").share;
  share.memory_bytes = 1 << 19;
  std::vector<SliceEvent> events;
  ASSERT_TRUE(manager_->resize("a", share, false, &events));
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].reason, Reason::MemoryPressure);
  EXPECT_TRUE(manager_->tend().empty()) << "told once";
  provider_->used_bytes = 1 << 19;
  events = manager_->tend();
  ASSERT_EQ(events.size(), 1u);
  EXPECT_EQ(events[0].reason, Reason::None);
  EXPECT_TRUE(manager_->tend().empty());
}

TEST_F(ManagerTest, AResizeThatIsKilledAnywhereIsDoneOrNot) {
  Share share = slice_named("a").share;
  share.compute_percent = 35;
  bool crashed = true;
  int crashes = 0;
  for (int at = 0; crashed; ++at) {
    std::filesystem::remove(state_ + "/slices.journal");
    std::filesystem::remove_all(machine());
    std::filesystem::create_directory(machine());
    start();
    ASSERT_TRUE(manager_->prepare(slice_named("a")));
    CrashPoint point(at);
    CrashingDisk disk(point);
    crashed = false;
    try {
      start(disk, point);
      manager_->recover();
      ASSERT_TRUE(manager_->resize("a", share, false, nullptr));
    } catch (const Crash&) {
      crashed = true;
      ++crashes;
    }
    restart();
    const Slice now = manager_->slices().front().slice;
    EXPECT_EQ(provider_->made["a"].share, now.share) << at;
    EXPECT_TRUE(now.share == share || (crashed && now.share == slice_named("a").share)) << at;
  }
  EXPECT_GT(crashes, 4);
}

TEST_F(ManagerTest, TakesCallsFromManyThreads) {
  start();
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([this, t] {
      for (int i = 0; i < 10; ++i) {
        std::string id = "t" + std::to_string(t) + "-" + std::to_string(i);
        EXPECT_TRUE(manager_->prepare(slice_named(id)));
        EXPECT_FALSE(manager_->slices().empty());
        EXPECT_EQ(manager_->discover().size(), 2u);
        if (i % 2 == 0) EXPECT_TRUE(manager_->release(id));
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(manager_->slices().size(), 20u);
  expect_agreement("after the threads");
}

}  // namespace
}  // namespace tweendeck::device

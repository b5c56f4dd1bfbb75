#include "app/daemon/slice_broker.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <filesystem>
#include <set>
#include <thread>

#include "base/units.h"

namespace tweendeck::daemon {
namespace {

using testing::HasSubstr;

// Two devices whose slices are only remembered.
class TwoDevices final : public device::Provider {
 public:
  std::string_view name() const override { return "fake"; }
  Result<std::vector<Device>> discover() override {
    Device device;
    device.id = "fake0";
    device.provider = "fake";
    device.memory_bytes = memory_bytes;
    device.isolation = Isolation::Library;
    Device other = device;
    other.id = "fake1";
    if (only_first) return std::vector<Device>{device};
    return std::vector<Device>{device, other};
  }
  Result<device::Preparation> prepare(const Slice& slice) override {
    if (refuse) return fail(Reason::DriverError, "the driver is out of order");
    made.insert(slice.id);
    device::Preparation preparation;
    preparation.isolation = Isolation::Library;
    preparation.env = {{"SLICE", slice.id}};
    preparation.cpu_count = 3;
    return preparation;
  }
  Status unprepare(std::string_view slice_id) override {
    made.erase(std::string(slice_id));
    return {};
  }
  Result<device::SliceUsage> usage(std::string_view) override {
    return device::SliceUsage{.memory_bytes = 7};
  }
  Result<std::vector<std::string>> prepared() override {
    return std::vector<std::string>(made.begin(), made.end());
  }

  bool refuse = false;
  bool only_first = false;
  uint64_t memory_bytes = 4 * kGiB;
  std::set<std::string> made;
};

class SliceBrokerTest : public testing::Test {
 protected:
  SliceBrokerTest() {
    char name[] = "/tmp/tw-broker-XXXXXX";
    dir_ = ::mkdtemp(name);
    open();
  }
  // As a daemon that starts does, after the end of the one before it.
  void open() {
    broker_.reset();
    manager_.reset();
    Result<device::Journal> journal = device::Journal::open(dir_ + "/slices.journal", disk_);
    manager_ = std::make_unique<device::DeviceManager>(std::vector<device::Provider*>{&provider_},
                                                       std::move(*journal), nullptr);
    manager_->recover();
    broker_ = std::make_unique<SliceBroker>(*manager_);
  }
  ~SliceBrokerTest() override { std::filesystem::remove_all(dir_); }

  static serving::DeploymentSpec spec(uint64_t memory_bytes, uint32_t compute_percent) {
    serving::DeploymentSpec spec;
    spec.name = "chat";
    spec.claim.share = {.memory_bytes = memory_bytes, .compute_percent = compute_percent};
    return spec;
  }

  std::string dir_;
  device::Disk disk_;
  TwoDevices provider_;
  std::unique_ptr<device::DeviceManager> manager_;
  std::unique_ptr<SliceBroker> broker_;
};

TEST_F(SliceBrokerTest, GrantsWhatThePreparationSays) {
  auto grant = broker_->acquire(spec(kGiB, 40), "chat-1", "chat-1.1");
  ASSERT_TRUE(grant) << to_string(grant.error());
  EXPECT_EQ(grant->provider, "fake");
  EXPECT_EQ(grant->slice.isolation, Isolation::Library);
  EXPECT_EQ(grant->slice.owner, "chat-1");
  EXPECT_EQ(grant->cpu_count, 3);
  EXPECT_EQ(grant->env.at(0).second, "chat-1.1");
  EXPECT_EQ(broker_->usage("chat-1.1")->memory_bytes, 7);
}

TEST_F(SliceBrokerTest, TheSameIdGetsTheSameSliceAgain) {
  auto first = broker_->acquire(spec(3 * kGiB, 90), "chat-1", "a");
  auto again = broker_->acquire(spec(3 * kGiB, 90), "chat-1", "a");
  ASSERT_TRUE(first && again);
  EXPECT_EQ(first->slice, again->slice);
  EXPECT_EQ(broker_->slices().size(), 1);
}

TEST_F(SliceBrokerTest, ARefusalTellsReasonAndNearestMiss) {
  ASSERT_TRUE(broker_->acquire(spec(3 * kGiB, 10), "chat-1", "a"));
  ASSERT_TRUE(broker_->acquire(spec(3 * kGiB, 10), "chat-2", "b"));
  auto refused = broker_->acquire(spec(2 * kGiB, 10), "chat-3", "c");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().reason, Reason::InsufficientMemory);
  EXPECT_THAT(refused.error().message, HasSubstr("fake"));
  EXPECT_EQ(broker_->acquire(spec(100 * kTiB, 10), "chat-3", "c").error().reason,
            Reason::MemoryExceedsDevice);
  ASSERT_TRUE(broker_->release("a"));
  EXPECT_TRUE(broker_->acquire(spec(2 * kGiB, 10), "chat-3", "c")) << "what was released can be had again";
}

TEST_F(SliceBrokerTest, ANameThatNoDeviceHasIsTold) {
  Claim claim = spec(kGiB, 10).claim;
  claim.device_ids = {"nvidia", "soft9"};
  const auto refused = broker_->acquire_own(claim, "a");
  ASSERT_FALSE(refused);
  EXPECT_EQ(refused.error().reason, Reason::DeviceNotSelected);
  EXPECT_THAT(refused.error().hint, HasSubstr("nvidia or soft9"));
}

TEST_F(SliceBrokerTest, ALongWaitIsToldAsPeopleWriteIt) {
  Claim claim = spec(kGiB, 10).claim;
  claim.share.memory_wait_ms = 360'000'000;
  EXPECT_THAT(broker_->acquire_own(claim, "a").error().message, HasSubstr("4d04h"));
}

TEST_F(SliceBrokerTest, AFailedPreparationHoldsNothing) {
  provider_.refuse = true;
  EXPECT_EQ(broker_->acquire(spec(4 * kGiB, 100), "chat-1", "a").error().reason, Reason::DriverError);
  provider_.refuse = false;
  EXPECT_TRUE(broker_->acquire(spec(4 * kGiB, 100), "chat-2", "b"));
}

TEST_F(SliceBrokerTest, ASliceWhoseDeviceIsGoneIsNotMadeAgain) {
  ASSERT_TRUE(broker_->acquire(spec(3 * kGiB, 10), "chat-1", "a"));
  auto second = broker_->acquire(spec(3 * kGiB, 10), "chat-2", "b");
  ASSERT_TRUE(second);
  ASSERT_EQ(second->slice.device_id, "fake1");
  provider_.only_first = true;
  EXPECT_EQ(broker_->acquire(spec(3 * kGiB, 10), "chat-2", "b").error().reason, Reason::DeviceGone);
  EXPECT_TRUE(broker_->acquire(spec(3 * kGiB, 10), "chat-1", "a"));
  provider_.memory_bytes = 2 * kGiB;
  auto shrunk = broker_->acquire(spec(3 * kGiB, 10), "chat-1", "a");
  ASSERT_FALSE(shrunk);
  EXPECT_EQ(shrunk.error().reason, Reason::DeviceGone);
  EXPECT_THAT(shrunk.error().message, HasSubstr("fake0"));
}

TEST_F(SliceBrokerTest, AfterARestartItDecidesFromTheJournalAsBefore) {
  ASSERT_TRUE(broker_->acquire(spec(kGiB, 40), "chat-1", "a"));
  ASSERT_TRUE(broker_->acquire(spec(2 * kGiB, 20), "chat-2", "b"));
  ASSERT_TRUE(broker_->acquire(spec(2 * kGiB, 30), "chat-3", "c"));
  ASSERT_TRUE(broker_->release("a"));
  const std::vector<Slice> held = broker_->slices();
  auto refused = broker_->acquire(spec(3 * kGiB, 60), "chat-4", "d");
  ASSERT_FALSE(refused);
  auto next = broker_->acquire(spec(kGiB, 10), "chat-4", "d");
  ASSERT_TRUE(next);
  ASSERT_TRUE(broker_->release("d"));

  open();
  EXPECT_EQ(broker_->slices(), held);
  auto refused_again = broker_->acquire(spec(3 * kGiB, 60), "chat-4", "d");
  ASSERT_FALSE(refused_again);
  EXPECT_EQ(to_string(refused_again.error()), to_string(refused.error()));
  auto again = broker_->acquire(spec(kGiB, 10), "chat-4", "d");
  ASSERT_TRUE(again);
  EXPECT_EQ(again->slice.device_id, next->slice.device_id);
}

TEST_F(SliceBrokerTest, ManyAtOnceNeverGetMoreThanThereIs) {
  constexpr int kThreads = 8;
  std::vector<std::thread> threads;
  for (int t = 0; t < kThreads; ++t) {
    threads.emplace_back([this, t] {
      for (int i = 0; i < 12; ++i) {
        std::string id = "s" + std::to_string(t) + "-" + std::to_string(i);
        auto grant = broker_->acquire(spec(1500 * kMiB, 30), id, id);
        if (grant && i % 3 == 0) {
          EXPECT_TRUE(broker_->release(id));
        }
        std::map<std::string, Share> held;
        for (const Slice& slice : broker_->slices()) {
          held[slice.device_id].memory_bytes += slice.share.memory_bytes;
          held[slice.device_id].compute_percent += slice.share.compute_percent;
        }
        for (const auto& [device, share] : held) {
          EXPECT_LE(share.memory_bytes, 4 * kGiB) << device;
          EXPECT_LE(share.compute_percent, 100) << device;
        }
      }
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(broker_->slices().size(), 4) << "two of 1.5 GiB fit on each device of 4 GiB";
}

}  // namespace
}  // namespace tweendeck::daemon

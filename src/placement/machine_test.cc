#include "placement/machine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "base/clock.h"
#include "placement/machine_testing.h"

namespace tweendeck::placement {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;

Device device(const std::string& id, uint64_t memory_bytes) {
  Device device;
  device.id = id;
  device.provider = "soft";
  device.memory_bytes = memory_bytes;
  return device;
}

Slice slice(const std::string& id, const std::string& device_id, uint64_t memory_bytes, uint32_t compute) {
  Slice slice;
  slice.id = id;
  slice.owner = id;
  slice.deployment = "d" + id;
  slice.device_id = device_id;
  slice.share = {.memory_bytes = memory_bytes, .compute_percent = compute};
  return slice;
}

MachineClaim claim(uint64_t memory_bytes, uint32_t compute) {
  MachineClaim claim;
  claim.name = "new";
  claim.share = {.memory_bytes = memory_bytes, .compute_percent = compute};
  return claim;
}

Reason reason_of(const Status& status) {
  return status ? Reason::None : status.error().reason;
}

class MachineTest : public testing::Test {
 protected:
  void observe() { machine_.observe(devices_, slices_); }
  Status resize(const std::string& id, const Share& wanted) {
    observe();
    return machine_.resize(id, wanted);
  }
  std::vector<std::string> place(const MachineClaim& claim) {
    observe();
    const Decision decision = machine_.place(claim, new_ids(claim.count));
    return decision.device_ids;
  }

  std::vector<Device> devices_ = {device("soft0", 100)};
  std::vector<Slice> slices_ = {slice("a", "soft0", 40, 30), slice("b", "soft0", 40, 30)};
  Machine machine_;
};

TEST_F(MachineTest, AResizeMayTakeWhatIsFreeAndGiveBackAnything) {
  EXPECT_TRUE(resize("a", {.memory_bytes = 60, .compute_percent = 70}));
  // The journal was not told, so nothing of it is kept.
  EXPECT_TRUE(resize("a", {.memory_bytes = 1, .compute_percent = 1}));
  EXPECT_TRUE(resize("b", {.memory_bytes = 60, .compute_percent = 70}));
  EXPECT_EQ(reason_of(resize("a", {.memory_bytes = 61, .compute_percent = 30})), Reason::InsufficientMemory);
  EXPECT_EQ(reason_of(resize("a", {.memory_bytes = 40, .compute_percent = 71})), Reason::InsufficientCompute);
  EXPECT_EQ(reason_of(resize("c", {})), Reason::NotFound);
  observe();
  ASSERT_TRUE(machine_.resize("a", {.memory_bytes = 60, .compute_percent = 30}));
  EXPECT_EQ(reason_of(machine_.resize("b", {.memory_bytes = 41, .compute_percent = 30})),
            Reason::InsufficientMemory)
      << "of two that are resized together the second finds what the first left";
}

TEST_F(MachineTest, OnAFaultyDeviceOrAnOverfullOneSlicesOnlyShrink) {
  devices_[0].healthy = false;
  EXPECT_EQ(reason_of(resize("a", {.memory_bytes = 41, .compute_percent = 30})), Reason::DeviceUnhealthy);
  EXPECT_TRUE(resize("a", {.memory_bytes = 39, .compute_percent = 30}));
  EXPECT_TRUE(resize("a", {.memory_bytes = 40, .compute_percent = 30})) << "as it is";
  devices_[0].healthy = true;
  devices_[0].memory_bytes = 50;  // it shrank below what it holds
  EXPECT_TRUE(resize("a", {.memory_bytes = 20, .compute_percent = 30}));
  EXPECT_EQ(reason_of(resize("a", {.memory_bytes = 41, .compute_percent = 30})), Reason::InsufficientMemory);
  EXPECT_EQ(reason_of(resize("a", {.memory_bytes = 20, .compute_percent = 31})), Reason::InsufficientMemory);
  devices_.clear();
  EXPECT_EQ(reason_of(resize("a", {.memory_bytes = 1, .compute_percent = 1})), Reason::NotFound);
}

TEST_F(MachineTest, WhatADeviceHeldIsHeldAgainWhenItComesBack) {
  devices_.push_back(device("soft1", 100));
  observe();
  EXPECT_TRUE(machine_.holds("a"));
  devices_.erase(devices_.begin());
  observe();
  EXPECT_EQ(reason_of(machine_.holds("a")), Reason::DeviceGone);
  EXPECT_THAT(place(claim(30, 10)), ElementsAre("soft1"));
  Machine restarted;  // while the device is not there
  restarted.observe(devices_, slices_);
  EXPECT_EQ(reason_of(restarted.holds("b")), Reason::DeviceGone);
  devices_.insert(devices_.begin(), device("soft0", 100));
  for (Machine* machine : {&machine_, &restarted}) {
    machine->observe(devices_, slices_);
    EXPECT_TRUE(machine->holds("a"));
    MachineClaim there = claim(21, 10);
    there.device_ids = {"soft0"};
    EXPECT_FALSE(machine->place(there, {"new"}).placed());
  }
  devices_[0].memory_bytes = 60;
  observe();
  EXPECT_THAT(machine_.holds("a").error().message, HasSubstr("soft0 has 60 B now, its slices hold 80 B"));
}

TEST_F(MachineTest, AFailedPrepareGivesItsRoomBackUnlessTheJournalHoldsIt) {
  observe();
  ASSERT_TRUE(machine_.place(claim(20, 40), {"c"}).placed());
  EXPECT_FALSE(machine_.place(claim(20, 40), {"d"}).placed()) << "what is reserved is held";
  machine_.give_back("c");
  ASSERT_TRUE(machine_.place(claim(20, 40), {"c"}).placed());
  slices_.push_back(slice("c", "soft0", 20, 40));  // it failed, but its removal is not finished
  machine_.give_back("c");
  EXPECT_TRUE(place(claim(20, 40)).empty());
  slices_.pop_back();
  EXPECT_EQ(place(claim(20, 40)).size(), 1u);
  EXPECT_EQ(place(claim(20, 40)).size(), 1u) << "a reservation of which nothing came is forgotten";
  EXPECT_EQ(machine_.engine().reserved() + machine_.engine().pending(), 1u);
}

TEST_F(MachineTest, AmongEqualsTheFirstDeviceOfTheMachineIsTakenWhateverCameWhen) {
  slices_.clear();
  devices_ = {device("soft1", 100)};
  observe();
  devices_.insert(devices_.begin(), device("soft0", 100));
  EXPECT_THAT(place(claim(10, 10)), ElementsAre("soft0"));
}

TEST_F(MachineTest, ManySharesDoNotGrowTheEngineForEver) {
  devices_[0].memory_bytes = kMaxMachineShapes + 1000;
  for (uint64_t i = 0; i < kMaxMachineShapes + 100; ++i) {
    slices_[0].share.memory_bytes = 1 + i;
    observe();
  }
  EXPECT_LT(machine_.engine().cluster().shapes(), 200u);
  EXPECT_EQ(machine_.engine().bound(), 2u);
  EXPECT_TRUE(machine_.holds("a"));
}

// ---------------------------------------------------------------- restarts

// What each device has left.
std::string book(const Machine& machine, const std::vector<Device>& devices) {
  std::string text;
  for (const Device& device : devices) {
    const NodeIndex index = machine.engine().cluster().find_node(device.id);
    const NodeState& node = machine.engine().cluster().nodes()[index];
    text += device.id + " " + std::to_string(node.memory_free[0]) + " " +
            std::to_string(node.compute_free[0]) + " " + std::to_string(node.claims_held) + " " +
            std::to_string(node.open) + "\n";
  }
  return text;
}

class Walk {
 public:
  explicit Walk(uint64_t seed) : random_(seed) {
    for (uint64_t i = 0; i < 1 + seed % 4; ++i) {
      devices_.push_back(device("dev" + std::to_string(i), 40 + random_.below(60)));
    }
    all_ = devices_;
  }

  void step() {
    machine_.observe(devices_, journal_);
    switch (random_.below(8)) {
      case 0:
      case 1:
      case 2:
        return place();
      case 3:
        if (!journal_.empty())
          journal_.erase(journal_.begin() + static_cast<ptrdiff_t>(random_.below(journal_.size())));
        return;
      case 4:
      case 5:
        return resize();
      default:
        return change_devices();
    }
  }

  // A machine that is told what there is, and nothing of what was.
  void compare_with_restarted() {
    Machine restarted;
    for (Machine* machine : {&machine_, &restarted}) machine->observe(devices_, journal_);
    ASSERT_EQ(book(machine_, devices_), book(restarted, devices_));
    ASSERT_EQ(machine_.engine().pending() + machine_.engine().reserved(), 0u);
    const MachineClaim probe = random_claim();
    const auto ids = new_ids(probe.count);
    const Decision decision = machine_.place(probe, ids);
    ASSERT_EQ(decision, restarted.place(probe, ids));
    (decision.placed() ? placed : refused) += 1;
    for (const Slice& slice : journal_) {
      ASSERT_EQ(reason_of(machine_.holds(slice.id)), reason_of(restarted.holds(slice.id)));
    }
  }

  uint64_t placed = 0;
  uint64_t refused = 0;

 private:
  MachineClaim random_claim() {
    MachineClaim claim;
    claim.name = std::string(1, static_cast<char>('a' + random_.below(3)));
    claim.count = static_cast<uint32_t>(1 + random_.below(3));
    claim.share = {1 + random_.below(40), static_cast<uint32_t>(1 + random_.below(60)), 0};
    claim.spread = random_.below(2) == 0 ? Spread::Pack : Spread::Spread;
    claim.distinct_devices = random_.below(4) == 0;
    return claim;
  }

  void place() {
    const MachineClaim claim = random_claim();
    std::vector<std::string> ids;
    for (uint32_t i = 0; i < claim.count; ++i) ids.push_back("s" + std::to_string(++slices_));
    const Decision decision = machine_.place(claim, ids);
    for (size_t i = 0; i < decision.device_ids.size(); ++i) {
      Slice slice = placement::slice(ids[i], decision.device_ids[i], claim.share.memory_bytes,
                                     claim.share.compute_percent);
      slice.deployment = claim.name;
      const uint64_t fate = random_.below(6);
      if (fate != 0) journal_.push_back(slice);  // else the daemon died before it was written
      if (fate == 1) {
        machine_.give_back(ids[i]);
      } else if (fate != 2) {
        machine_.confirm(ids[i]);
      }
    }
  }

  void resize() {
    if (journal_.empty()) return;
    Slice& slice = journal_[random_.below(journal_.size())];
    const Share wanted = {1 + random_.below(50), static_cast<uint32_t>(1 + random_.below(80)), 0};
    const bool done = machine_.resize(slice.id, wanted).has_value();
    if (done && random_.below(4) != 0) slice.share = wanted;  // else it could not be carried out
  }

  void change_devices() {
    Device& device = all_[random_.below(all_.size())];
    switch (random_.below(3)) {
      case 0:
        device.healthy = !device.healthy;
        break;
      case 1:
        device.memory_bytes = 20 + random_.below(80);
        break;
      default:
        break;
    }
    const bool lost = random_.below(3) == 0;
    devices_.clear();
    for (const Device& each : all_) {
      if (!lost || each.id != device.id) devices_.push_back(each);
    }
  }

  Random random_;
  Machine machine_;
  std::vector<Device> all_;
  std::vector<Device> devices_;
  std::vector<Slice> journal_;
  uint64_t slices_ = 0;
};

TEST(MachineRestart, DecidesFromTheJournalAsTheOneThatLivedThroughIt) {
  uint64_t placed = 0, refused = 0;
  for (uint64_t seed = 0; seed < 120 && !testing::Test::HasFatalFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Walk walk(seed);
    for (int step = 0; step < 40 && !testing::Test::HasFatalFailure(); ++step) {
      walk.step();
      walk.compare_with_restarted();
    }
    placed += walk.placed;
    refused += walk.refused;
  }
  EXPECT_GT(placed, 1000u);
  EXPECT_GT(refused, 1000u);
}

}  // namespace
}  // namespace tweendeck::placement

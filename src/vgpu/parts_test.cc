// The small pure parts: table of allocations, limits page.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <map>
#include <memory>
#include <random>
#include <thread>

#include "vgpu/allocations.h"
#include "vgpu/system.h"

namespace tweendeck::vgpu {
namespace {

TEST(Allocations, AgreesWithAMap) {
  auto table = std::make_unique<Allocations>();
  std::map<uint64_t, uint64_t> model;
  std::mt19937_64 random(3);
  for (int step = 0; step < 300'000; ++step) {
    const uint64_t address = (random() % 20'000 + 1) * 512;
    if (random() % 2 == 0) {
      if (!model.emplace(address, address + 1).second) continue;
      ASSERT_TRUE(table->insert(address, {address + 1, random() % 3, 0, TW_VGPU_KIND_LINEAR}));
    } else {
      Allocation found;
      ASSERT_EQ(table->remove(address, found), model.contains(address));
      if (model.erase(address)) {
        ASSERT_EQ(found.bytes, address + 1);
      }
    }
    if (step % 10'000 == 0) {
      ASSERT_EQ(table->size(), model.size());
    }
  }
}

TEST(Allocations, AContextTakesItsOwnAlong) {
  auto table = std::make_unique<Allocations>();
  for (uint64_t i = 1; i <= 5000; ++i)
    ASSERT_TRUE(table->insert(i * 256, {1, i % 2, 0, TW_VGPU_KIND_LINEAR}));
  static uint64_t released;
  released = 0;
  table->remove_context(1, [](const Allocation& allocation) { released += allocation.bytes; });
  EXPECT_EQ(released, 2500u);
  EXPECT_EQ(table->size(), 2500u);
  Allocation found;
  for (uint64_t i = 1; i <= 5000; ++i) ASSERT_EQ(table->remove(i * 256, found), i % 2 == 0) << i;
}

TEST(Allocations, ThreadsDoNotLoseEntries) {
  auto table = std::make_unique<Allocations>();
  std::atomic<int> lost = 0;
  const auto work = [&](uint64_t base) {
    Allocation found;
    for (uint64_t i = 1; i <= 20'000; ++i) {
      if (!table->insert((base + i) * 256, {i, 0, 0, TW_VGPU_KIND_LINEAR})) ++lost;
      if (i % 3 == 0 && !table->remove((base + i) * 256, found)) ++lost;
    }
  };
  std::thread a(work, 0), b(work, 1'000'000);
  a.join();
  b.join();
  EXPECT_EQ(lost, 0);
  EXPECT_EQ(table->size(), 2 * (20'000 - 20'000 / 3));
}

TEST(LimitsPage, AReaderNeverSeesHalfASet) {
  auto page = std::make_unique<tw_vgpu_limits_page>();
  *page = {};
  std::atomic<bool> stop = false;
  std::thread writer([&] {
    for (uint64_t value = 1; !stop; ++value) {
      tw_vgpu_limit_set set{};
      set.device_count = TW_VGPU_MAX_DEVICES;
      for (auto& device : set.devices) device.memory_bytes = value;
      tw_vgpu_publish_limits(page.get(), &set);
      std::this_thread::yield();
    }
  });
  int read = 0;
  for (int i = 0; i < 20'000; ++i) {
    tw_vgpu_limit_set set;
    uint64_t generation = 0;
    if (!tw_vgpu_read_limits(page.get(), &set, &generation, 10)) continue;
    ++read;
    for (const auto& device : set.devices) ASSERT_EQ(device.memory_bytes, generation);
  }
  stop = true;
  writer.join();
  EXPECT_GT(read, 1000);
}

TEST(Linux, ToldApartByStartTimeAndSeenWhenDead) {
  const uint64_t me = kLinux.self();
  EXPECT_EQ(tw_vgpu_owner_pid(me), static_cast<uint32_t>(getpid()));
  EXPECT_TRUE(kLinux.alive(me));
  EXPECT_FALSE(kLinux.alive(tw_vgpu_owner(tw_vgpu_owner_pid(me), tw_vgpu_owner_start(me) + 1, 0)));
  const pid_t child = fork();
  if (child == 0) _exit(0);
  siginfo_t info;
  ASSERT_EQ(waitid(P_PID, static_cast<id_t>(child), &info, WEXITED | WNOWAIT), 0);
  EXPECT_FALSE(kLinux.alive(tw_vgpu_owner(static_cast<uint32_t>(child), tw_vgpu_owner_start(me), 0)))
      << "a zombie holds nothing";
  waitpid(child, nullptr, 0);
  EXPECT_NE(kLinux.pid_namespace(), 0u);
}

}  // namespace
}  // namespace tweendeck::vgpu

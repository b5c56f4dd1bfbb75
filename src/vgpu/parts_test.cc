// The small pure parts: token bucket, learned durations, table of allocations, limits page.
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <map>
#include <memory>
#include <random>
#include <thread>

#include "vgpu/allocations.h"
#include "vgpu/bucket.h"
#include "vgpu/durations.h"
#include "vgpu/system.h"

namespace tweendeck::vgpu {
namespace {

constexpr uint64_t kMs = 1'000'000;

// Always wanting to launch, kernels one after another, as a device would run them.
double busy_share(uint32_t permille, uint64_t kernel_ns, uint64_t span_ns) {
  uint64_t until = 0, now = 1'000'000'000, busy = 0;
  const uint64_t end = now + span_ns;
  while (now < end) {
    if (const uint64_t wait = bucket_wait_ns(&until, now)) {
      now += wait;
      continue;
    }
    bucket_charge(&until, now, static_cast<int64_t>(kernel_ns), permille);
    busy += kernel_ns;
    now += kernel_ns;
  }
  return 100.0 * static_cast<double>(busy) / static_cast<double>(span_ns);
}

TEST(Bucket, GivesTheShareWhateverTheKernelsLength) {
  for (const uint32_t permille : {100u, 200u, 300u, 500u, 700u}) {
    for (const uint64_t kernel_ns : {kMs / 100, kMs / 10, kMs, 20 * kMs, 50 * kMs}) {
      EXPECT_NEAR(busy_share(permille, kernel_ns, 5'000 * kMs), permille / 10.0, 2.0)
          << permille << " " << kernel_ns;
    }
  }
}

TEST(Bucket, AnIdleSliceKeepsABoundedCredit) {
  uint64_t until = 0;
  const uint64_t now = 100'000 * kMs;
  uint64_t granted = 0;
  while (bucket_wait_ns(&until, now) == 0) {
    bucket_charge(&until, now, 1000, 300);
    granted += 1000;
  }
  EXPECT_NEAR(static_cast<double>(granted), 0.3 * kBurstNs, 2000.0);
}

TEST(Bucket, ACorrectionGivesBackButNeverMoreThanTheCredit) {
  uint64_t until = 0;
  const uint64_t now = 100'000 * kMs;
  bucket_charge(&until, now, static_cast<int64_t>(100 * kMs), 500);
  EXPECT_EQ(bucket_wait_ns(&until, now), 200 * kMs - kBurstNs);
  bucket_charge(&until, now, -static_cast<int64_t>(90 * kMs), 500);
  EXPECT_EQ(bucket_wait_ns(&until, now), 0u);
  EXPECT_EQ(until, now);
  bucket_charge(&until, now, -static_cast<int64_t>(1'000'000 * kMs), 500);
  EXPECT_EQ(until, now - kBurstNs);
}

TEST(Durations, LearnsAndFollowsAChange) {
  auto durations = std::make_unique<Durations>();
  EXPECT_EQ(durations->find(5).mean_ns, 0u);
  for (int i = 0; i < 6; ++i) durations->update(5, 1000, true);
  EXPECT_EQ(durations->find(5).mean_ns, 1000u);
  EXPECT_TRUE(durations->find(5).stable);
  durations->update(5, 9000, true);
  EXPECT_FALSE(durations->find(5).stable);
  for (int i = 0; i < 20; ++i) durations->update(5, 9000, true);
  EXPECT_NEAR(static_cast<double>(durations->find(5).mean_ns), 9000.0, 100.0);
}

TEST(Durations, WithOthersAboutAMeasurementIsOnlyAnUpperBound) {
  auto durations = std::make_unique<Durations>();
  for (int i = 0; i < 6; ++i) durations->update(5, 1000, true);
  for (int i = 0; i < 100; ++i) durations->update(5, 4000, false);
  EXPECT_EQ(durations->find(5).mean_ns, 1000u);
  EXPECT_TRUE(durations->find(5).stable);
  durations->update(5, 400, false);
  EXPECT_EQ(durations->find(5).mean_ns, 400u);
}

TEST(Durations, ACollisionForgetsAndNeverConfuses) {
  auto durations = std::make_unique<Durations>();
  durations->update(7, 1000, true);
  durations->update(7 + Durations::kEntries, 50, true);
  EXPECT_EQ(durations->find(7).mean_ns, 0u);
  EXPECT_EQ(durations->find(7 + Durations::kEntries).mean_ns, 50u);
}

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

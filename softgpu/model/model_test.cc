#include "softgpu/model/model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <fstream>
#include <mutex>
#include <thread>
#include <tuple>

#include "softgpu/model/cards.h"
#include "softgpu/model/testing.h"

namespace tweendeck::softgpu {
namespace {

using testing::attach;
using testing::CardFile;
using ::testing::HasSubstr;
using testing::kMs;

TEST(Cards, ParsesGroupsAndNamesWhatIsWrong) {
  const auto cards = parse_cards("2:H100-80G,1:A10@16");
  ASSERT_TRUE(cards);
  ASSERT_EQ(cards->size(), 3u);
  EXPECT_EQ((*cards)[1].model->name, "H100-80G");
  EXPECT_EQ((*cards)[1].sm_count, 132u);
  EXPECT_EQ((*cards)[2].sm_count, 16u);
  EXPECT_EQ((*cards)[2].execution, Execution::Fifo);
  EXPECT_EQ(parse_cards("1:T4", Execution::TimeSliced)->front().execution, Execution::TimeSliced);
  const auto named = parse_cards("1:T4@8/overlapping,1:T4/fifo", Execution::TimeSliced);
  ASSERT_TRUE(named);
  EXPECT_EQ(named->front().sm_count, 8u);
  EXPECT_EQ(named->front().execution, Execution::Overlapping);
  EXPECT_EQ(named->back().execution, Execution::Fifo);
  EXPECT_THAT(parse_cards("2:H900").error(), HasSubstr("H100-80G"));
  for (const char* bad : {"", "H100-80G", "0:A10", "17:A10", "9:A10,8:T4", "1:A10@0", "1:A10,", "-1:A10",
                          "1:A10@x", "1:A10/", "1:A10/mps", "1:A10/fifo@8"}) {
    EXPECT_FALSE(parse_cards(bad)) << bad;
  }
}

TEST(Cards, KernelDurationGrowsByWholeWaves) {
  const CardInfo card = make_card_info(parse_cards("1:H100-80G")->front(), 0, 1, -1);
  const uint64_t one_wave = kernel_duration_ns(card, 1, 256);
  EXPECT_EQ(kernel_duration_ns(card, 132 * 8, 256), one_wave);  // 2048 / 256 blocks per SM
  EXPECT_EQ(kernel_duration_ns(card, 132 * 8 + 1, 256) - one_wave, one_wave - kLaunchNs);
  EXPECT_THAT(card.name, HasSubstr("(simulated)"));
}

TEST(File, HasNoHolesThatAFullDiskCouldNotFill) {
  const CardFile file({.cards = "2:A10"});
  struct stat status{};
  ASSERT_EQ(stat(file.path().c_str(), &status), 0);
  EXPECT_GE(status.st_blocks * 512, status.st_size);
}

TEST(File, RefusesWhatIsNoModel) {
  CardFile file({.cards = "1:A10"});
  EXPECT_FALSE(create_cards(file.path(), {.cards = "1:A10"}));
  EXPECT_TRUE(create_cards(file.path(), {.cards = "1:T4", .replace = true}));
  {
    auto model = file.open();
    model->shared().header().layout_version.store(kLayoutVersion + 1);
  }
  EXPECT_THAT(Model::open(file.path()).error(), HasSubstr("layout version 3"));
  std::ofstream(file.path()) << "too short";
  EXPECT_THAT(Model::open(file.path()).error(), HasSubstr("not a software GPU"));
  EXPECT_THAT(Model::open("/nonexistent/x").error(), HasSubstr("/nonexistent/x"));
}

TEST(File, OfAnotherBootIsRefused) {
  CardFile file({.cards = "1:A10"});
  file.open()->shared().header().boot_id[0] ^= 1;
  EXPECT_THAT(Model::open(file.path()).error(), HasSubstr("last boot"));
}

TEST(Memory, IsExactAndReturnsWithItsClient) {
  CardFile file({.cards = "1:T4"});
  auto model = file.open();
  auto peer = file.open();
  const uint64_t total = model->info(0).memory_bytes;
  auto a = attach(*model);
  auto b = attach(*peer);
  EXPECT_TRUE(a->reserve(0, total - 512));
  EXPECT_FALSE(b->reserve(0, 513));
  EXPECT_TRUE(b->reserve(0, 512));
  EXPECT_FALSE(b->reserve(0, UINT64_MAX));
  a->release(0, 1024);
  EXPECT_EQ(peer->usage(0).used_bytes, total - 1024);
  a.reset();
  const CardUsage usage = peer->usage(0);
  EXPECT_EQ(usage.used_bytes, 512u);
  ASSERT_EQ(usage.processes.size(), 1u);
  EXPECT_EQ(usage.processes[0].memory_bytes, 512u);
  EXPECT_EQ(usage.processes[0].pid, static_cast<uint64_t>(getpid()));
}

TEST(Memory, EightThreadsRacingNeverPassTheCard) {
  CardFile file({.cards = "1:T4"});
  const uint64_t step = 64ull << 20;
  std::vector<std::thread> threads;
  std::atomic<uint64_t> granted{0};
  for (int i = 0; i < 8; ++i) {
    threads.emplace_back([&] {
      auto model = file.open();
      auto client = attach(*model);
      while (client->reserve(0, step)) granted += step;
      client->detach();
    });
  }
  for (auto& thread : threads) thread.join();
  auto model = file.open();
  EXPECT_EQ(model->usage(0).used_bytes, 0u);
  EXPECT_GE(granted.load(), model->info(0).memory_bytes / step * step);
}

TEST(Clients, SlotsAreBounded) {
  CardFile file({.cards = "1:T4"});
  auto model = file.open();
  std::vector<std::unique_ptr<Client>> clients;
  for (uint32_t i = 0; i < kMaxClients; ++i) clients.push_back(attach(*model));
  EXPECT_THAT(model->attach({}).error(), HasSubstr("256"));
  clients.pop_back();
  EXPECT_TRUE(model->attach({}));
}

// Virtual clock: every figure below is exact.

TEST(VirtualQueue, ExecutesInOrderOfSubmission) {
  CardFile file({.cards = "1:H100-80G", .virtual_clock = true});
  auto model = file.open();
  auto client = attach(*model);
  EXPECT_EQ(model->now(), 0u);
  uint64_t end = 0;
  const uint64_t first = client->submit(0, {.duration_ns = 3 * kMs}, &end);
  EXPECT_EQ(end, 3 * kMs);
  const uint64_t second = client->submit(0, {.duration_ns = 2 * kMs}, &end);
  EXPECT_EQ(end, 5 * kMs);
  EXPECT_EQ(model->now(), 0u);
  client->wait_done(0, first);
  EXPECT_EQ(model->now(), 3 * kMs);
  EXPECT_FALSE(client->is_done(0, second));
  EXPECT_EQ(model->now(), 3 * kMs + kPollNs);
  client->sleep_until(9 * kMs);
  EXPECT_EQ(model->now(), 9 * kMs);
  EXPECT_TRUE(client->is_done(0, second));
  EXPECT_EQ(client->end_of(0, second), 5 * kMs);
}

TEST(VirtualQueue, WorkWaitsForItsDependency) {
  CardFile file({.cards = "1:H100-80G", .virtual_clock = true});
  auto model = file.open();
  auto client = attach(*model);
  const uint64_t ticket = client->submit(0, {.duration_ns = kMs, .not_before_ns = 4 * kMs});
  client->wait_done(0, ticket);
  EXPECT_EQ(model->now(), 5 * kMs);
  EXPECT_EQ(model->usage(0).busy_ns, kMs);
}

TEST(VirtualQueue, IsBoundedAndASubmitterWaitsForRoom) {
  CardFile file({.cards = "1:H100-80G", .virtual_clock = true});
  auto model = file.open();
  auto client = attach(*model);
  const uint64_t first = client->submit(0, {.duration_ns = kMs});
  for (uint32_t i = 1; i < kQueueDepth; ++i) client->submit(0, {.duration_ns = kMs});
  EXPECT_EQ(model->now(), 0u);
  const uint64_t last = client->submit(0, {.duration_ns = kMs});
  EXPECT_EQ(model->now(), kMs);
  client->wait_done(0, last);
  EXPECT_EQ(model->now(), (kQueueDepth + 1) * kMs);
  EXPECT_EQ(client->end_of(0, first), kMs);  // still remembered
  for (uint32_t i = 0; i < kPoolEntries; ++i) client->submit(0, {.duration_ns = 1});
  EXPECT_EQ(client->end_of(0, first), std::nullopt);
}

TEST(VirtualUsage, SamplesTellEachProcessShare) {
  CardFile file({.cards = "1:H100-80G", .virtual_clock = true});
  auto model = file.open();
  auto observer = file.open();
  auto client = attach(*model);
  client->add_context(0);
  EXPECT_EQ(observer->usage(0).sm_percent, 0u);
  // A quarter busy: 1 ms of every 4.
  for (int i = 0; i < 500; ++i) {
    client->wait_done(0, client->submit(0, {.duration_ns = kMs}));
    client->sleep_until(model->now() + 3 * kMs);
  }
  CardUsage usage = observer->usage(0);
  EXPECT_EQ(usage.busy_ns, 500 * kMs);
  EXPECT_NEAR(usage.sm_percent, 25, 1);
  ASSERT_EQ(usage.processes.size(), 1u);
  EXPECT_NEAR(usage.processes[0].sm_percent, 25, 1);
  EXPECT_EQ(usage.sample_time_ns, 2000 * kMs / kSamplePeriodNs * kSamplePeriodNs);
  client->sleep_until(3'600'000 * kMs);  // an idle hour is one step
  usage = observer->usage(0);
  EXPECT_EQ(usage.sm_percent, 0u);
  EXPECT_GT(usage.sample_time_ns + kSamplePeriodNs, 3'600'000 * kMs - 1);
}

TEST(VirtualUsage, AKernelLongerThanTheSampleCountsWhileItRuns) {
  CardFile file({.cards = "1:H100-80G", .virtual_clock = true});
  auto model = file.open();
  auto client = attach(*model);
  client->add_context(0);
  client->submit(0, {.duration_ns = 10'000 * kMs});
  client->sleep_until(5'000 * kMs);
  EXPECT_EQ(model->usage(0).sm_percent, 100u);
}

using Log = std::vector<std::tuple<int, int, uint64_t>>;  // client, step, virtual time

// Four clients with different mixes; each step is logged in the order in which it really happened.
Log run_mixed_clients() {
  constexpr int kClients = 4;
  CardFile file({.cards = "2:H100-80G", .virtual_clock = true, .start_clients = kClients});
  Log log;
  std::mutex
      log_mutex;  // never contended: one client runs at a time, which TSan cannot see through the clock
  std::vector<std::thread> threads;
  for (int id = 0; id < kClients; ++id) {
    threads.emplace_back([&, id] {
      auto model = file.open();
      auto client = attach(*model, static_cast<uint64_t>(id));
      uint64_t seed = static_cast<uint64_t>(id) + 1;
      for (int step = 0; step < 50; ++step) {
        {
          const std::lock_guard lock(log_mutex);
          log.emplace_back(id, step, model->now());
        }
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        const auto card = static_cast<uint32_t>(seed >> 60) % 2;
        uint64_t ticket = 0;
        for (uint64_t i = 0; i <= (seed >> 50) % 3; ++i)
          ticket = client->submit(card, {.duration_ns = (seed >> 40) % 5 * kMs});
        if (step % 3 == 0) client->sleep_until(model->now() + kMs);
        client->wait_done(card, ticket);
      }
    });
  }
  for (auto& thread : threads) thread.join();
  return log;
}

TEST(VirtualClock, SameProgramsGiveTheSameHistory) {
  const Log first = run_mixed_clients();
  EXPECT_EQ(first.size(), 200u);
  for (int i = 0; i < 5; ++i) EXPECT_EQ(run_mixed_clients(), first);
}

TEST(VirtualClock, StandsStillWhileAClientRuns) {
  CardFile file({.cards = "1:H100-80G", .virtual_clock = true});
  auto model = file.open();
  auto busy = attach(*model);
  std::atomic<bool> done{false};
  std::thread waiter([&] {
    auto own = file.open();
    auto client = attach(*own);
    client->wait_done(0, client->submit(0, {.duration_ns = kMs}));
    done = true;
    client->detach();
  });
  while (model->usage(0).queued == 0) std::this_thread::yield();
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_FALSE(done.load());
  EXPECT_EQ(model->now(), 0u);
  busy.reset();  // the only one that ran leaves
  waiter.join();
  EXPECT_EQ(model->now(), kMs);
}

TEST(RealClock, OccupancyFollowsTheClock) {
  CardFile file({.cards = "1:H100-80G"});
  auto model = file.open();
  auto client = attach(*model);
  const uint64_t start = monotonic_ns();
  uint64_t end = 0;
  client->submit(0, {.duration_ns = 10 * kMs});
  const uint64_t ticket = client->submit(0, {.duration_ns = 10 * kMs}, &end);
  const bool early = client->is_done(0, ticket);
  EXPECT_TRUE(!early || monotonic_ns() >= end);  // a busy machine may have held us up for that long
  client->wait_done(0, ticket);
  EXPECT_GE(monotonic_ns(), end);
  EXPECT_GE(monotonic_ns() - start, 20 * kMs);
  EXPECT_EQ(model->usage(0).busy_ns, 20 * kMs);
}

}  // namespace
}  // namespace tweendeck::softgpu

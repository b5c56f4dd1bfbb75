#include "vgpu/books.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <memory>
#include <random>
#include <thread>
#include <vector>

namespace tweendeck::vgpu {
namespace {

// A world of processes that the test makes live and die.
struct World {
  static inline uint64_t now = 0;
  static inline uint64_t self_pid = 1;
  static inline uint64_t name_space = 7;
  static inline std::vector<uint64_t> dead;
};

const System kFake{
    [] { return World::now += 1000; },
    [](uint64_t ns) { World::now += ns; },
    [] { return tw_vgpu_owner(static_cast<uint32_t>(World::self_pid), World::self_pid * 10, 0); },
    [](uint64_t owner) {
      return std::find(World::dead.begin(), World::dead.end(), owner >> 32) == World::dead.end();
    },
    [] { return World::name_space; },
};

class BooksTest : public ::testing::Test {
 protected:
  void SetUp() override {
    World::now = 0;
    World::dead.clear();
    World::name_space = 7;
    page_ = std::make_unique<tw_vgpu_usage_page>();
    *page_ = {};
  }
  Books process(uint32_t pid) {
    World::self_pid = pid;
    Books books(kFake);
    EXPECT_TRUE(books.attach(page_.get()));
    return books;
  }
  uint64_t total() const { return tw_vgpu_memory_claimed(page_.get(), 0, nullptr); }

  std::unique_ptr<tw_vgpu_usage_page> page_;
};

constexpr uint64_t kLimit = 1000;

TEST_F(BooksTest, TheLimitIsExact) {
  Books a = process(1), b = process(2);
  EXPECT_EQ(a.reserve(0, kLimit, 600, TW_VGPU_KIND_LINEAR), Grant::Granted);
  EXPECT_EQ(b.reserve(0, kLimit, 401, TW_VGPU_KIND_LINEAR), Grant::OverLimit);
  EXPECT_EQ(b.reserve(0, kLimit, 400, TW_VGPU_KIND_MANAGED), Grant::Granted);
  EXPECT_EQ(a.reserve(0, kLimit, 1, TW_VGPU_KIND_LINEAR), Grant::OverLimit);
  EXPECT_EQ(total(), kLimit);
  EXPECT_EQ(page_->devices[0].memory_peak_bytes, kLimit);
  EXPECT_EQ(page_->books[0][b.slot()].by_kind[TW_VGPU_KIND_MANAGED], 400u);
  a.release(0, 600, TW_VGPU_KIND_LINEAR);
  EXPECT_EQ(b.reserve(0, kLimit, 600, TW_VGPU_KIND_LINEAR), Grant::Granted);
}

TEST_F(BooksTest, NumbersThatWouldOverflowAreRefused) {
  Books a = process(1);
  EXPECT_EQ(a.reserve(0, kLimit, ~0ull, TW_VGPU_KIND_LINEAR), Grant::OverLimit);
  EXPECT_EQ(a.reserve(0, 0, ~0ull, TW_VGPU_KIND_LINEAR), Grant::OverLimit);
  EXPECT_EQ(a.reserve(0, 0, 1ull << 50, TW_VGPU_KIND_LINEAR), Grant::Granted) << "0 is no limit";
}

TEST_F(BooksTest, DevicesDoNotShareALimit) {
  Books a = process(1);
  EXPECT_EQ(a.reserve(0, kLimit, kLimit, TW_VGPU_KIND_LINEAR), Grant::Granted);
  EXPECT_EQ(a.reserve(1, kLimit, kLimit, TW_VGPU_KIND_LINEAR), Grant::Granted);
}

TEST_F(BooksTest, WhatADeadProcessHeldIsThereForTheNextOne) {
  Books a = process(1), b = process(2);
  ASSERT_EQ(a.reserve(0, kLimit, 900, TW_VGPU_KIND_LINEAR), Grant::Granted);
  World::dead = {1};
  EXPECT_EQ(b.reserve(0, kLimit, 1000, TW_VGPU_KIND_LINEAR), Grant::Granted);
  EXPECT_EQ(total(), 1000u);
}

TEST_F(BooksTest, AReservationInFlightOfADeadProcessIsNotInTheWay) {
  Books a = process(1), b = process(2);
  page_->books[0][a.slot()].pending_bytes = 900;  // killed between its two steps
  World::dead = {1};
  EXPECT_EQ(b.reserve(0, kLimit, 500, TW_VGPU_KIND_LINEAR), Grant::Granted);
  EXPECT_EQ(total(), 500u);
}

TEST_F(BooksTest, AStoppedProcessWithAReservationInFlightBoundsTheWait) {
  Books a = process(1), b = process(2);
  page_->books[0][a.slot()].pending_bytes = 900;  // SIGSTOP: alive, and not going on
  const uint64_t before = World::now;
  EXPECT_EQ(b.reserve(0, kLimit, 500, TW_VGPU_KIND_LINEAR), Grant::Contended);
  EXPECT_LT(World::now - before, 2 * kContentionLimitNs);
  EXPECT_EQ(page_->books[0][b.slot()].pending_bytes, 0u);
}

TEST_F(BooksTest, AContenderThatDiedIsOverruled) {
  Books a = process(1), b = process(2);
  page_->books[0][a.slot()].pending_bytes = 900;
  page_->devices[0].contender = 12345;
  page_->devices[0].contender_since_ns = World::now;
  World::dead = {1};
  EXPECT_EQ(b.reserve(0, kLimit, 500, TW_VGPU_KIND_LINEAR), Grant::Granted);
}

TEST_F(BooksTest, AProgramStartedByExecTakesTheOldSlotsPlace) {
  Books a = process(1);
  ASSERT_EQ(a.reserve(0, kLimit, 900, TW_VGPU_KIND_LINEAR), Grant::Granted);
  Books again = process(1);
  EXPECT_EQ(total(), 0u);
  EXPECT_EQ(again.slot(), a.slot());
}

TEST_F(BooksTest, AProcessKilledWhileMovingInIsReclaimed) {
  page_->slots[0].owner = tw_vgpu_owner(9, 90, 1);
  page_->books[0][0].used_bytes = 500;
  page_->slots_in_use = 1;
  World::dead = {9};
  Books a = process(1);
  EXPECT_EQ(total(), 0u);
  EXPECT_TRUE(a.sweep());
  EXPECT_EQ(page_->slots[0].owner, 0u);
}

TEST_F(BooksTest, PidsOfAnotherNamespaceAreLeftToTheNode) {
  World::name_space = 8;
  Books a = process(1);
  World::name_space = 7;
  Books b = process(2);
  World::dead = {1};
  EXPECT_FALSE(b.sweep());
  EXPECT_NE(page_->slots[a.slot()].owner, 0u);
}

TEST_F(BooksTest, SlotsOfDeadProcessesAreUsedAgainWhenAllAreTaken) {
  for (uint32_t pid = 1; pid <= TW_VGPU_MAX_SLOTS; ++pid) process(pid);
  World::self_pid = 5000;
  Books late(kFake);
  EXPECT_FALSE(late.attach(page_.get()));
  World::dead = {17};
  EXPECT_TRUE(late.attach(page_.get()));
  EXPECT_EQ(late.slot(), 16u);
}

TEST_F(BooksTest, DetachingGivesEverythingBack) {
  Books a = process(1);
  ASSERT_EQ(a.reserve(0, kLimit, 900, TW_VGPU_KIND_LINEAR), Grant::Granted);
  a.detach();
  EXPECT_EQ(total(), 0u);
}

// Against the obvious model, with processes that die at random.
TEST_F(BooksTest, AgreesWithASimpleModel) {
  std::mt19937_64 random(42);
  constexpr uint32_t kProcesses = 8;
  std::vector<Books> books;
  std::vector<std::vector<uint64_t>> held(kProcesses);
  std::vector<uint32_t> pid(kProcesses);
  uint32_t next_pid = 1;
  for (uint32_t i = 0; i < kProcesses; ++i) books.push_back(process(pid[i] = next_pid++));
  for (int step = 0; step < 50'000; ++step) {
    const uint32_t who = random() % kProcesses;
    uint64_t model = 0;
    for (const auto& list : held) {
      for (const uint64_t bytes : list) model += bytes;
    }
    ASSERT_EQ(total(), model);
    if (random() % 100 == 0) {
      World::dead.push_back(pid[who]);
      held[who].clear();
      books[(who + 1) % kProcesses].sweep();
      books[who] = process(pid[who] = next_pid++);
    } else if (random() % 2 == 0) {
      const uint64_t bytes = random() % 300;
      const Grant grant = books[who].reserve(0, kLimit, bytes, TW_VGPU_KIND_LINEAR);
      ASSERT_EQ(grant == Grant::Granted, model + bytes <= kLimit);
      if (grant == Grant::Granted) held[who].push_back(bytes);
    } else if (!held[who].empty()) {
      books[who].release(0, held[who].back(), TW_VGPU_KIND_LINEAR);
      held[who].pop_back();
    }
  }
}

TEST(BooksOfRealProcesses, EightThatRaceFillTheLimitExactlyAndNeverPassIt) {
  constexpr uint64_t kStep = 64 << 10, kSteps = 1600;  // 100 MiB
  void* memory =
      mmap(nullptr, sizeof(tw_vgpu_usage_page), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  auto* page = static_cast<tw_vgpu_usage_page*>(memory);
  std::vector<pid_t> children;
  int done[2];
  ASSERT_EQ(pipe(done), 0);
  for (int i = 0; i < 8; ++i) {
    const pid_t pid = fork();
    if (pid == 0) {
      Books books(kLinux);
      if (!books.attach(page)) _exit(1);
      uint32_t granted = 0;
      Grant grant;
      while ((grant = books.reserve(0, kStep * kSteps, kStep, TW_VGPU_KIND_LINEAR)) == Grant::Granted)
        ++granted;
      if (grant != Grant::OverLimit) granted = 1u << 30;
      if (write(done[1], &granted, sizeof(granted)) != sizeof(granted)) _exit(1);
      while (true) pause();  // keeps its slot until it is killed
    }
    children.push_back(pid);
  }
  uint64_t granted = 0;
  for (size_t i = 0; i < children.size(); ++i) {
    uint32_t part = 0;
    ASSERT_EQ(read(done[0], &part, sizeof(part)), static_cast<ssize_t>(sizeof(part)));
    granted += part;
  }
  EXPECT_EQ(granted, kSteps);
  EXPECT_EQ(tw_vgpu_memory_claimed(page, 0, nullptr), kSteps * kStep);
  for (const pid_t pid : children) kill(pid, SIGKILL);
  for (const pid_t pid : children) waitpid(pid, nullptr, 0);
  Books survivor(kLinux);
  ASSERT_TRUE(survivor.attach(page));
  EXPECT_EQ(survivor.reserve(0, kStep * kSteps, kStep * kSteps, TW_VGPU_KIND_LINEAR), Grant::Granted);
  survivor.detach();
  EXPECT_EQ(tw_vgpu_memory_claimed(page, 0, nullptr), 0u);
  close(done[0]);
  close(done[1]);
  munmap(page, sizeof(*page));
}

TEST(BooksOfRealProcesses, KilledAtRandomMomentsLeaveNoDrift) {
  void* memory =
      mmap(nullptr, sizeof(tw_vgpu_usage_page), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  auto* page = static_cast<tw_vgpu_usage_page*>(memory);
  Books survivor(kLinux);
  ASSERT_TRUE(survivor.attach(page));
  ASSERT_EQ(survivor.reserve(0, 1 << 20, 4096, TW_VGPU_KIND_LINEAR), Grant::Granted);
  std::mt19937 random(7);
  for (int round = 0; round < 60; ++round) {
    const pid_t pid = fork();
    if (pid == 0) {
      Books books(kLinux);
      if (!books.attach(page)) _exit(1);
      while (true) {
        if (books.reserve(0, 1 << 20, 1 << 19, TW_VGPU_KIND_LINEAR) == Grant::Granted) {
          books.release(0, 1 << 19, TW_VGPU_KIND_LINEAR);
        }
      }
    }
    std::this_thread::sleep_for(std::chrono::microseconds(300 + random() % 3000));
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
    survivor.sweep();
    ASSERT_EQ(tw_vgpu_memory_claimed(page, 0, nullptr), 4096u) << "round " << round;
    ASSERT_EQ(survivor.reserve(0, 1 << 20, (1 << 20) - 4096, TW_VGPU_KIND_LINEAR), Grant::Granted);
    survivor.release(0, (1 << 20) - 4096, TW_VGPU_KIND_LINEAR);
  }
  munmap(page, sizeof(*page));
}

}  // namespace
}  // namespace tweendeck::vgpu

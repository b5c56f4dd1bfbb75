// What is granted and refused.
#include "vgpu/books.h"

#include <gtest/gtest.h>

#include <random>
#include <utility>
#include <vector>

#include "vgpu/testing.h"

namespace tweendeck::vgpu {
namespace {

using testing::BooksTest, testing::kLimit, testing::World;

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

TEST_F(BooksTest, GrantsAreCountedInBatchesThatStartSmall) {
  Books a = process(1);
  for (int i = 0; i < 1000; ++i) {
    ASSERT_EQ(a.reserve(0, kLimit, 1, TW_VGPU_KIND_ARRAY), Grant::Granted);
  }
  ASSERT_EQ(a.reserve(0, 0, 1, TW_VGPU_KIND_GRAPH), Grant::Granted);
  EXPECT_EQ(page_->devices[0].allocations[TW_VGPU_KIND_ARRAY], 1000u);
  EXPECT_EQ(page_->devices[0].allocations[TW_VGPU_KIND_GRAPH], 1u);
  const uint64_t before = page_->devices[0].allocations[TW_VGPU_KIND_GRAPH];
  for (int i = 0; i < 1000; ++i) ASSERT_EQ(a.reserve(0, 0, 1, TW_VGPU_KIND_GRAPH), Grant::Granted);
  EXPECT_GE(page_->devices[0].allocations[TW_VGPU_KIND_GRAPH], before + 1000 - kMostUncounted);
}

// Against the obvious model, with processes that die at random.
TEST_F(BooksTest, AMillionOperationsAgreeWithASimpleModel) {
  std::mt19937_64 random(42);
  constexpr uint32_t kProcesses = 8, kDevices = 3, kOperations = 1'000'000;
  constexpr uint64_t kLimits[kDevices] = {kLimit, 50 * kLimit, 0};
  struct Held {
    uint32_t device;
    uint64_t bytes;
    tw_vgpu_kind kind;
  };
  std::vector<Books> books;
  std::vector<std::vector<Held>> held(kProcesses);
  std::vector<uint32_t> pid(kProcesses);
  uint64_t model[kDevices] = {};
  uint32_t next_pid = 1;
  World::marks = true;
  for (uint32_t i = 0; i < kProcesses; ++i) books.push_back(process(pid[i] = next_pid++));
  for (uint32_t step = 0; step < kOperations; ++step) {
    const uint32_t who = random() % kProcesses;
    const auto device = static_cast<uint32_t>(random() % kDevices);
    ASSERT_EQ(tw_vgpu_memory_claimed(page_.get(), device, nullptr), model[device]) << "step " << step;
    if (random() % 1000 == 0) {
      World::dead = {pid[who]};
      World::kernel_ends(pid[who]);
      for (const Held& gone : held[who]) model[gone.device] -= gone.bytes;
      held[who].clear();
      ASSERT_TRUE(books[(who + 1) % kProcesses].sweep());
      books[who] = process(pid[who] = next_pid++);
    } else if (random() % 2 == 0) {
      const Held wanted{device, random() % 300, static_cast<tw_vgpu_kind>(random() % TW_VGPU_KINDS)};
      const Grant grant = books[who].reserve(device, kLimits[device], wanted.bytes, wanted.kind);
      const bool fits = kLimits[device] == 0 || model[device] + wanted.bytes <= kLimits[device];
      ASSERT_EQ(grant, fits ? Grant::Granted : Grant::OverLimit) << "step " << step;
      if (!fits) continue;
      held[who].push_back(wanted);
      model[device] += wanted.bytes;
    } else if (!held[who].empty()) {
      std::swap(held[who][random() % held[who].size()], held[who].back());
      const Held last = held[who].back();
      held[who].pop_back();
      books[who].release(last.device, last.bytes, last.kind);
      model[last.device] -= last.bytes;
    }
  }
  for (uint32_t who = 0; who < kProcesses; ++who) {
    uint64_t by_kind[kDevices][TW_VGPU_KINDS] = {};
    for (const Held& item : held[who]) by_kind[item.device][item.kind] += item.bytes;
    for (uint32_t device = 0; device < kDevices; ++device) {
      for (uint32_t kind = 0; kind < TW_VGPU_KINDS; ++kind)
        EXPECT_EQ(page_->books[device][books[who].slot()].by_kind[kind], by_kind[device][kind]);
    }
  }
}

}  // namespace
}  // namespace tweendeck::vgpu

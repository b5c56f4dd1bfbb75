#include "vgpu/books.h"

#include <gtest/gtest.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <map>
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
  // Slot -> pid that holds its mark; no marks at all unless a test switches them on.
  static inline bool marks = false;
  static inline std::map<uint32_t, uint64_t> mark_of;

  static Mark see(uint32_t slot) {
    if (!marks) return Mark::Unknown;
    return mark_of.contains(slot) ? Mark::Others : Mark::Free;
  }
  static Mark take(uint32_t slot) {
    if (!marks) return Mark::Unknown;
    return mark_of.try_emplace(slot, self_pid).second ? Mark::Mine : Mark::Others;
  }
  static void kernel_ends(uint64_t pid) {
    std::erase_if(mark_of, [&](const auto& mark) { return mark.second == pid; });
  }
};

const System kFake{
    [] { return World::now += 1000; },
    [](uint64_t ns) { World::now += ns; },
    [] { return tw_vgpu_owner(static_cast<uint32_t>(World::self_pid), World::self_pid * 10, 0); },
    [](uint64_t owner) {
      return std::find(World::dead.begin(), World::dead.end(), owner >> 32) == World::dead.end();
    },
    [] { return World::name_space; },
    World::take,
    World::see,
    [] { World::kernel_ends(World::self_pid); },
};

class BooksTest : public ::testing::Test {
 protected:
  void SetUp() override {
    World::now = 0;
    World::dead.clear();
    World::name_space = 7;
    World::marks = false;
    World::mark_of.clear();
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

TEST_F(BooksTest, WhoTakesADeadProcesssSlotTakesNoneOfWhatItHeld) {
  Books a = process(1), b = process(2);
  const uint32_t slot = a.slot();
  ASSERT_EQ(a.reserve(0, kLimit, 900, TW_VGPU_KIND_LINEAR), Grant::Granted);
  ASSERT_EQ(a.reserve(5, kLimit, 800, TW_VGPU_KIND_ARRAY), Grant::Granted);
  EXPECT_EQ(page_->slots[slot].used_devices, 1u | 1u << 5);
  page_->books[5][slot].pending_bytes = 70;  // killed between its two steps
  World::dead = {1};
  ASSERT_TRUE(b.sweep());
  Books c = process(3);
  ASSERT_EQ(c.slot(), slot);
  uint64_t used = 1;
  EXPECT_EQ(tw_vgpu_memory_claimed(page_.get(), 0, &used), 0u);
  EXPECT_EQ(tw_vgpu_memory_claimed(page_.get(), 5, &used), 0u);
  EXPECT_EQ(page_->books[5][slot].by_kind[TW_VGPU_KIND_ARRAY], 0u);
  EXPECT_EQ(page_->slots[slot].used_devices, 0u);
  ASSERT_EQ(c.reserve(5, kLimit, 10, TW_VGPU_KIND_ARRAY), Grant::Granted);
  EXPECT_EQ(page_->slots[slot].used_devices, 1u << 5);
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

TEST_F(BooksTest, AProcessKilledBeforeTheBoundPassedItsSlotIsReclaimed) {
  Books a = process(1);
  page_->slots[7].owner = tw_vgpu_owner(9, 90, 1);
  World::dead = {9};
  EXPECT_TRUE(a.sweep());
  EXPECT_EQ(page_->slots[7].owner, 0u);
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

TEST_F(BooksTest, TheSumIsNoLongerThanTheSlotsThatAreOwned) {
  for (uint32_t pid = 1; pid <= 60; ++pid) process(pid);
  EXPECT_EQ(tw_vgpu_slot_bound(page_.get()), 60u);
  Books last = process(61);
  for (uint64_t pid = 2; pid <= 60; ++pid) World::dead.push_back(pid);
  EXPECT_TRUE(last.sweep());
  EXPECT_EQ(tw_vgpu_slot_bound(page_.get()), 61u) << "the last is owned";
  last.detach();
  Books next = process(62);
  EXPECT_EQ(next.slot(), 1u);
  EXPECT_EQ(tw_vgpu_slot_bound(page_.get()), 2u);
}

TEST_F(BooksTest, WhoLowersTheBoundHasSeenTheLatestClaim) {
  process(1);
  const uint64_t before = page_->slots_in_use;
  Books b = process(2);
  b.detach();
  const Books c = process(3);
  EXPECT_EQ(c.slot(), 1u);
  EXPECT_GT(page_->slots_in_use >> 32, (before >> 32) + 1) << "the same bound, another word";
}

TEST_F(BooksTest, DetachingGivesEverythingBack) {
  Books a = process(1);
  ASSERT_EQ(a.reserve(0, kLimit, 900, TW_VGPU_KIND_LINEAR), Grant::Granted);
  a.detach();
  EXPECT_EQ(total(), 0u);
}

TEST_F(BooksTest, AFreeMarkIsDeathInWhateverPidNamespace) {
  World::marks = true;
  World::name_space = 8;
  Books a = process(1);
  ASSERT_EQ(a.reserve(0, kLimit, 900, TW_VGPU_KIND_LINEAR), Grant::Granted);
  World::name_space = 7;
  Books b = process(2);
  EXPECT_FALSE(b.sweep());
  World::kernel_ends(1);
  EXPECT_EQ(b.reserve(0, kLimit, 500, TW_VGPU_KIND_LINEAR), Grant::Granted);
  EXPECT_EQ(total(), 500u);
}

TEST_F(BooksTest, AHeldMarkIsLifeWhateverPidsSay) {
  World::marks = true;
  World::name_space = 8;
  const Books a = process(1);
  World::name_space = 7;
  Books b = process(2);
  World::dead = {1};  // no such pid here
  EXPECT_FALSE(b.sweep());
  EXPECT_TRUE(a.owns_slot());
}

TEST_F(BooksTest, AnImageThatEndedByExecIsGoneAlthoughItsPidLives) {
  World::marks = true;
  Books a = process(1), b = process(2);
  ASSERT_EQ(a.reserve(0, kLimit, 900, TW_VGPU_KIND_LINEAR), Grant::Granted);
  World::kernel_ends(1);
  EXPECT_EQ(b.reserve(0, kLimit, 900, TW_VGPU_KIND_LINEAR), Grant::Granted);
}

TEST_F(BooksTest, KilledWhileMovingInIsSeenByItsMark) {
  World::marks = true;
  Books a = process(1);
  page_->slots[1].owner = tw_vgpu_owner(9, 90, 1);
  page_->slots_in_use = 2;
  World::mark_of[1] = 9;
  EXPECT_FALSE(a.sweep()) << "it is still at it";
  World::kernel_ends(9);
  EXPECT_TRUE(a.sweep());
}

TEST_F(BooksTest, ASlotTakenFromTheLivingIsItsOwnAgain) {
  Books a = process(1);
  ASSERT_EQ(a.reserve(0, kLimit, 400, TW_VGPU_KIND_LINEAR), Grant::Granted);
  page_->slots[a.slot()].owner = 0;
  EXPECT_EQ(a.reserve(0, kLimit, 100, TW_VGPU_KIND_LINEAR), Grant::Granted);
  EXPECT_EQ(total(), 500u);
}

TEST_F(BooksTest, WhoseSlotIsAnothersGetsNothingAndChangesNothing) {
  Books a = process(1);
  ASSERT_EQ(a.reserve(0, kLimit, 400, TW_VGPU_KIND_LINEAR), Grant::Granted);
  page_->slots[a.slot()].owner = 0;
  Books b = process(2);
  ASSERT_EQ(b.slot(), a.slot());
  ASSERT_EQ(b.reserve(0, kLimit, 300, TW_VGPU_KIND_LINEAR), Grant::Granted);
  EXPECT_EQ(a.reserve(0, kLimit, 1, TW_VGPU_KIND_LINEAR), Grant::OverLimit);
  a.release(0, 400, TW_VGPU_KIND_LINEAR);
  EXPECT_EQ(total(), 300u);
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

TEST(BooksOfRealProcesses, SixteenThatRaceFillTheLimitExactlyAndNeverPassIt) {
  constexpr uint64_t kStep = 64 << 10, kSteps = 1600;  // 100 MiB
  void* memory =
      mmap(nullptr, sizeof(tw_vgpu_usage_page), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  auto* page = static_cast<tw_vgpu_usage_page*>(memory);
  std::vector<pid_t> children;
  int done[2];
  ASSERT_EQ(pipe(done), 0);
  for (int i = 0; i < 16; ++i) {
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

class BooksInAFile : public ::testing::Test {
 protected:
  void SetUp() override {
    const int file = mkstemp(path_);
    ASSERT_GE(file, 0);
    ASSERT_EQ(ftruncate(file, sizeof(tw_vgpu_usage_page)), 0);
    void* memory = mmap(nullptr, sizeof(tw_vgpu_usage_page), PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    close(file);
    ASSERT_NE(memory, MAP_FAILED);
    page_ = static_cast<tw_vgpu_usage_page*>(memory);
    set_mark_file(path_);
    ASSERT_EQ(pipe(told_), 0);
  }
  void TearDown() override {
    survivor_.detach();
    for (const pid_t pid : children_) end(pid);
    set_mark_file(nullptr);
    munmap(page_, sizeof(*page_));
    unlink(path_);
    close(told_[0]);
    close(told_[1]);
  }
  // A child that attaches, takes 1000 bytes, does as told, says so, and waits for its end.
  template <class Act>
  pid_t child(Act act) {
    const pid_t pid = fork();
    if (pid == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      forget_mark();
      Books books(kLinux);
      if (!books.attach(page_) || books.reserve(0, 0, 1000, TW_VGPU_KIND_LINEAR) != Grant::Granted) _exit(1);
      act();
      say(books.slot());
      while (true) pause();
    }
    EXPECT_EQ(read(told_[0], &slot_, sizeof(slot_)), static_cast<ssize_t>(sizeof(slot_)));
    children_.push_back(pid);
    return pid;
  }
  void say(uint32_t slot) {
    if (write(told_[1], &slot, sizeof(slot)) != sizeof(slot)) _exit(1);
  }
  void end(pid_t pid) {
    std::erase(children_, pid);
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
  }
  Grant take_all() { return survivor_.reserve(0, 1000, 1000, TW_VGPU_KIND_LINEAR); }

  char path_[32] = "/tmp/tw-books-XXXXXX";
  int told_[2];
  tw_vgpu_usage_page* page_ = nullptr;
  std::vector<pid_t> children_;
  uint32_t slot_ = 0;
  Books survivor_{kLinux};
};

TEST_F(BooksInAFile, TheKernelTakesTheMarkOfAProcessThatEnds) {
  const pid_t pid = child([] {});
  EXPECT_EQ(page_->slots[slot_].marked, 1u);
  page_->slots[slot_].pid_namespace = 12345;  // as if of another namespace: pids tell nothing
  ASSERT_TRUE(survivor_.attach(page_));
  EXPECT_EQ(kLinux.see_mark(slot_), Mark::Others);
  EXPECT_EQ(take_all(), Grant::OverLimit);
  end(pid);
  EXPECT_EQ(kLinux.see_mark(slot_), Mark::Free);
  EXPECT_EQ(take_all(), Grant::Granted);
}

TEST_F(BooksInAFile, AProgramThatClosesAllItsFilesKeepsItsMark) {
  child([this] {
    for (int file = 3; file < 1024; ++file) {
      if (file != told_[1]) close(file);
    }
  });
  ASSERT_TRUE(survivor_.attach(page_));
  EXPECT_EQ(take_all(), Grant::OverLimit);
}

TEST_F(BooksInAFile, AnotherProgramStartedByExecDoesNotKeepTheMark) {
  const pid_t pid = child([this] {
    say(0);
    execl("/bin/sleep", "sleep", "100", nullptr);
    _exit(1);
  });
  ASSERT_TRUE(survivor_.attach(page_));
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(20);
  while (take_all() != Grant::Granted && std::chrono::steady_clock::now() < until) std::this_thread::yield();
  EXPECT_EQ(tw_vgpu_memory_claimed(page_, 0, nullptr), 1000u);
  EXPECT_EQ(kill(pid, 0), 0);
}

TEST_F(BooksInAFile, AForkedChildDoesNotKeepItsParentsMark) {
  int alive[2];
  ASSERT_EQ(pipe(alive), 0);
  const pid_t pid = child([&] {
    // Not through the C library, whose fork tells libraries of it.
    const auto grandchild =
        static_cast<pid_t>(syscall(SYS_clone, SIGCHLD, nullptr, nullptr, nullptr, nullptr));
    if (grandchild == 0) {
      while (true) pause();
    }
    if (write(alive[1], &grandchild, sizeof(grandchild)) != sizeof(grandchild)) _exit(1);
  });
  pid_t grandchild = 0;
  ASSERT_EQ(read(alive[0], &grandchild, sizeof(grandchild)), static_cast<ssize_t>(sizeof(grandchild)));
  ASSERT_TRUE(survivor_.attach(page_));
  end(pid);
  EXPECT_EQ(kill(grandchild, 0), 0);
  EXPECT_EQ(take_all(), Grant::Granted);
  kill(grandchild, SIGKILL);
  close(alive[0]);
  close(alive[1]);
}

TEST_F(BooksInAFile, AThreadIsNotEndedWhileItWaitsForItsTurn) {
  ASSERT_TRUE(survivor_.attach(page_));
  child([] {});
  page_->books[0][slot_].used_bytes = 0;
  page_->books[0][slot_].pending_bytes = 900;  // a peer that does not go on
  const uint64_t& pending = page_->books[0][survivor_.slot()].pending_bytes;
  std::thread thread([&] { take_all(); });
  while (__atomic_load_n(&pending, __ATOMIC_SEQ_CST) == 0) std::this_thread::yield();
  pthread_cancel(thread.native_handle());
  thread.join();
  EXPECT_EQ(pending, 0u) << "nothing of it stays in flight";
}

}  // namespace
}  // namespace tweendeck::vgpu

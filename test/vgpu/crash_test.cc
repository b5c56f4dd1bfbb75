// The crash campaign: tenants of one slice are killed at random moments and at every instruction of the
// windows in which they change shared state. A peer must get all the room there is at once, with nothing left
// charged.
//
// This program is the peer, and its forked children are the victims: real tenants of the library, on a driver
// that does next to nothing. 500 kills; 10,000 with TWEENDECK_SOAK=1. bench/vgpu/crash makes a record of its figures.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstdlib>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "tenant_of_null.h"
#include "traced.h"

namespace tweendeck::vgpu::test {
namespace {

constexpr uint64_t kLimit = 64 << 20;
constexpr uint64_t kOwn = 1 << 20;
constexpr uint64_t kPiece = 256 << 10;
constexpr auto kMostReclaim = std::chrono::milliseconds(100);
constexpr uint64_t kMostInstructions = 10'000;
constexpr int kHangSeconds = 120;  // of the quick campaign; a hang ends the program
constexpr auto kPatience =
    std::chrono::seconds(60);  // until one that makes no step hangs; a busy machine starves it for some

int kills(int quick_share) {
  const bool soak = getenv("TWEENDECK_SOAK") != nullptr;
  return quick_share * (soak ? 20 : 1);
}

uint64_t must_alloc(uint64_t bytes) {
  uint64_t address = 0;
  if (cuMemAlloc_v2(&address, bytes) != kSuccess) _exit(3);
  return address;
}

// Our own memory, which nobody's death may change, held as long as the program runs.
void hold_own() {
  static const uint64_t own = [] {
    EXPECT_EQ(cuInit(0), kSuccess);
    return must_alloc(kOwn);
  }();
  ASSERT_NE(own, 0u);
}

// What a test has seen, for the record.
struct Seen {
  int kills = 0;
  uint64_t drift_bytes = 0;
  uint64_t instructions = 0;
  std::chrono::nanoseconds reclaim{};
};
Seen g_seen;

// All the room that the dead have left is there at once, and then nothing else is charged.
void expect_no_trace(const std::string& where) {
  const auto started = std::chrono::steady_clock::now();
  uint64_t all = 0;
  ASSERT_EQ(cuMemAlloc_v2(&all, kLimit - kOwn), kSuccess) << where << ": claimed " << claimed();
  const std::chrono::nanoseconds took = std::chrono::steady_clock::now() - started;
  g_seen.reclaim = std::max(g_seen.reclaim, took);
  EXPECT_LE(took, kMostReclaim) << where;
  ASSERT_EQ(cuMemFree_v2(all), kSuccess);
  g_seen.drift_bytes = std::max(g_seen.drift_bytes, std::max(claimed(), kOwn) - kOwn);
  ASSERT_EQ(claimed(), kOwn) << where;
  // A refusal takes back slots of the dead that hold nothing.
  ASSERT_EQ(cuMemAlloc_v2(&all, kLimit), kOutOfMemory) << where;
  for (const tw_vgpu_slot& slot : usage_page()->slots) {
    const uint64_t owner = tw_vgpu_load(&slot.owner);
    ASSERT_TRUE(owner == 0 || tw_vgpu_owner_pid(owner) == static_cast<uint32_t>(getpid())) << where;
  }
}

void nothing() {}
void pair() {
  if (cuMemFree_v2(must_alloc(kPiece)) != kSuccess) _exit(3);
}
void refused() {
  uint64_t address = 0;
  if (cuMemAlloc_v2(&address, kLimit) != kOutOfMemory) _exit(3);
}

const Window kAttach{"attaching and the first allocation", nothing, [] { must_alloc(kPiece); }};
const Window kPair{"allocating and freeing", pair, pair};
const Window kRefusal{"being refused", pair, refused};

class Crash : public ::testing::Test {
 protected:
  void SetUp() override {
    g_seen = {};
    // A hang is a failure, not a lost run.
    alarm(static_cast<unsigned>(kills(kHangSeconds)));
    hold_own();
    if (!Traced(kPair).started()) GTEST_SKIP() << "no ptrace here";
  }
  void TearDown() override {
    alarm(0);
    RecordProperty("kills", g_seen.kills);
    RecordProperty("drift_bytes", std::to_string(g_seen.drift_bytes));
    RecordProperty("most_instructions", std::to_string(g_seen.instructions));
    RecordProperty("most_reclaim_us", std::to_string(g_seen.reclaim.count() / 1000));
  }
};

// Kills at `count` instructions spread evenly over the window, all of it when it is not longer.
void kill_throughout(const Window& window, int count) {
  const OnOneCpu on_one_cpu;
  const uint64_t length = Traced(window).count_to_end();
  ASSERT_GT(length, 100u) << window.name;
  expect_no_trace(window.name);
  for (int i = 0; i < count; ++i) {
    const uint64_t at = length * static_cast<uint64_t>(i) / static_cast<uint64_t>(count);
    Traced victim(window);
    ASSERT_TRUE(victim.started());
    for (uint64_t step = 0; step < at; ++step) victim.step();
    victim.kill_now();
    ++g_seen.kills;
    expect_no_trace(window.name + std::string(" at instruction ") + std::to_string(at));
    if (::testing::Test::HasFatalFailure()) return;
  }
  std::printf("%s: %d kills over %lu instructions\n", window.name, count, static_cast<unsigned long>(length));
}

TEST_F(Crash, AtEveryInstructionOfAttaching) {
  kill_throughout(kAttach, kills(50));
}
TEST_F(Crash, AtEveryInstructionOfAllocatingAndFreeing) {
  kill_throughout(kPair, kills(180));
}
TEST_F(Crash, AtEveryInstructionOfARefusal) {
  kill_throughout(kRefusal, kills(70));
}

// Another peer's allocation of all the room, by instructions, when somebody has died and when not.
TEST_F(Crash, APeerExecutesFewInstructionsMore) {
  const Window all_of_it{"taking all the room", pair, [] { must_alloc(kLimit - kOwn); }};
  const uint64_t alone = Traced(all_of_it).count_to_end();
  expect_no_trace("counting");
  const OnOneCpu on_one_cpu;
  const uint64_t length = Traced(kPair).count_to_end();
  const int count = kills(30);
  for (int i = 0; i < count; ++i) {
    Traced peer(all_of_it), victim(kPair);
    const uint64_t at = length * static_cast<uint64_t>(i) / static_cast<uint64_t>(count);
    for (uint64_t step = 0; step < at; ++step) victim.step();
    victim.kill_now();
    const uint64_t executed = peer.count_to_end();
    g_seen.instructions = std::max(g_seen.instructions, executed - std::min(executed, alone));
    ++g_seen.kills;
    ASSERT_LE(executed, alone + kMostInstructions) << "killed at instruction " << at;
    peer.kill_now();
    expect_no_trace("counting");
  }
  std::printf("a death costs a peer at most %lu instructions\n",
              static_cast<unsigned long>(g_seen.instructions));
}

// Three that race for the room, one of which dies at any moment; the others go on.
TEST_F(Crash, AtRandomMomentsWhileOthersRace) {
  constexpr int kRacers = 3;
  constexpr uint64_t kSizes[] = {8 << 20, 24 << 20, 40 << 20};
  void* memory = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  ASSERT_NE(memory, MAP_FAILED);
  auto* const progress = static_cast<uint64_t*>(memory);
  const auto start = [&](int who) {
    const pid_t pid = fork();
    if (pid != 0) return pid;
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    std::minstd_rand random(static_cast<unsigned>(getpid()));
    while (true) {
      uint64_t address = 0;
      if (cuMemAlloc_v2(&address, kSizes[random() % 3]) == kSuccess) cuMemFree_v2(address);
      __atomic_fetch_add(&progress[who], 1, __ATOMIC_RELAXED);
    }
  };
  const auto end = [](pid_t pid) {
    kill(pid, SIGKILL);
    waitpid(pid, nullptr, 0);
  };
  const auto goes_on = [&](int who) {
    const uint64_t before = __atomic_load_n(&progress[who], __ATOMIC_RELAXED);
    const auto until = std::chrono::steady_clock::now() + kPatience;
    while (__atomic_load_n(&progress[who], __ATOMIC_RELAXED) == before) {
      if (std::chrono::steady_clock::now() > until) return false;
      std::this_thread::yield();
    }
    return true;
  };
  pid_t racers[kRacers];
  for (int i = 0; i < kRacers; ++i) racers[i] = start(i);
  std::mt19937 random(11);
  const int count = kills(170);
  for (int i = 0; i < count; ++i) {
    const int who = static_cast<int>(random() % kRacers);
    const timespec moment{0, static_cast<long>(random() % 2'000'000)};
    nanosleep(&moment, nullptr);
    end(racers[who]);
    ++g_seen.kills;
    for (int other = 0; other < kRacers; ++other) {
      if (other == who) continue;
      ASSERT_TRUE(goes_on(other)) << "kill " << i;
    }
    if (i % 8 == 7) {
      for (int other = 0; other < kRacers; ++other) {
        if (other != who) end(racers[other]);
      }
      expect_no_trace("after kill " + std::to_string(i));
      if (HasFatalFailure()) return;
      for (int other = 0; other < kRacers; ++other) {
        if (other != who) racers[other] = start(other);
      }
    }
    racers[who] = start(who);
  }
  for (const pid_t pid : racers) end(pid);
  expect_no_trace("at the end");
  munmap(memory, 4096);
}

}  // namespace
}  // namespace tweendeck::vgpu::test

int main(int argc, char** argv) {
  tweendeck::vgpu::test::become_tenant(argv, tweendeck::vgpu::test::kLimit);
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}

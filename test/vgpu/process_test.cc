// What processes do while they hold memory of a slice: race, fork, exec, take signals, leave calls for good.
// All of them are tenants of the library, on a driver that does next to nothing.
#include <gtest/gtest.h>
#include <setjmp.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <fstream>
#include <random>
#include <string>
#include <thread>
#include <vector>

#include "tenant_of_null.h"

namespace tweendeck::vgpu::test {
namespace {

constexpr uint64_t kLimit = 256 << 20;
constexpr uint64_t kGrain = 512;  // the driver's granularity
constexpr auto kPatience = std::chrono::seconds(30);
constexpr unsigned kHangSeconds = 120;

template <class Condition>
bool becomes_true(Condition condition) {
  const auto until = std::chrono::steady_clock::now() + kPatience;
  while (!condition()) {
    if (std::chrono::steady_clock::now() > until) return false;
    std::this_thread::yield();
  }
  return true;
}

bool take_all_and_give_back() {
  uint64_t all = 0;
  return cuMemAlloc_v2(&all, kLimit) == kSuccess && cuMemFree_v2(all) == kSuccess;
}

// As /proc says: R, S, ...
char state(pid_t pid) {
  std::ifstream file("/proc/" + std::to_string(pid) + "/stat");
  std::string text;
  std::getline(file, text);
  const size_t name_end = text.rfind(')');
  return name_end == std::string::npos ? '?' : text.at(name_end + 2);
}

class Process : public ::testing::Test {
 protected:
  void SetUp() override {
    alarm(kHangSeconds);
    ASSERT_EQ(cuInit(0), kSuccess);
    ASSERT_EQ(claimed(), 0u);
    void* memory = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(memory, MAP_FAILED);
    shared_ = static_cast<uint64_t*>(memory);
  }
  void TearDown() override {
    for (const pid_t pid : children_) {
      kill(pid, SIGKILL);
      waitpid(pid, nullptr, 0);
    }
    EXPECT_TRUE(take_all_and_give_back()) << "after all have ended";
    EXPECT_EQ(claimed(), 0u);
    munmap(shared_, 4096);
    alarm(0);
  }
  template <class Body>
  pid_t child(Body body) {
    const pid_t pid = fork();
    if (pid == 0) {
      prctl(PR_SET_PDEATHSIG, SIGKILL);
      body();
      while (true) pause();
    }
    children_.push_back(pid);
    return pid;
  }
  uint64_t shared(int word) const { return __atomic_load_n(&shared_[word], __ATOMIC_SEQ_CST); }
  void add(int word, uint64_t by) { __atomic_fetch_add(&shared_[word], by, __ATOMIC_SEQ_CST); }

  uint64_t* shared_ = nullptr;
  std::vector<pid_t> children_;
};

TEST_F(Process, AMillionOperationsAgreeWithAModel) {
  struct Held {
    uint64_t address;
    uint64_t bytes;
  };
  std::vector<Held> held;
  std::mt19937_64 random(5);
  uint64_t model = 0;
  for (int i = 0; i < 1'000'000; ++i) {
    const bool grow = held.empty() || random() % 100 < 52;
    if (grow) {
      // Mostly small, some that only just fit or do not.
      const uint64_t room = kLimit - model;
      const uint64_t asked =
          random() % 50 != 0 ? random() % 200'000 : room + random() % 3 * kGrain - std::min(room, kGrain);
      const uint64_t bytes = (asked + kGrain - 1) / kGrain * kGrain;
      uint64_t address = 0;
      const int result = asked == 0 ? kSuccess : cuMemAlloc_v2(&address, asked);
      ASSERT_EQ(result, model + bytes <= kLimit ? kSuccess : kOutOfMemory)
          << "step " << i << " asked " << asked;
      if (result != kSuccess || asked == 0) continue;
      held.push_back({address, bytes});
      model += bytes;
    } else {
      std::swap(held[random() % held.size()], held.back());
      ASSERT_EQ(cuMemFree_v2(held.back().address), kSuccess);
      model -= held.back().bytes;
      held.pop_back();
    }
    if (i % 64 == 0) {
      size_t free_bytes = 0, total = 0;
      ASSERT_EQ(cuMemGetInfo_v2(&free_bytes, &total), kSuccess);
      ASSERT_EQ(total, kLimit);
      ASSERT_EQ(free_bytes, kLimit - model) << "step " << i;
    }
  }
  for (const Held& last : held) ASSERT_EQ(cuMemFree_v2(last.address), kSuccess);
}

TEST_F(Process, SixteenThatRaceFillTheSliceAndNeverPassIt) {
  constexpr uint64_t kPiece = 64 << 10, kPieces = kLimit / kPiece;
  constexpr int kRacers = 16;
  for (int i = 0; i < kRacers; ++i) {
    child([&] {
      uint64_t address = 0;
      while (cuMemAlloc_v2(&address, kPiece) == kSuccess) add(0, 1);
      add(1, 1);
    });
  }
  uint64_t most = 0;
  ASSERT_TRUE(becomes_true([&] {
    uint64_t used = 0;
    tw_vgpu_memory_claimed(usage_page(), 0, &used);
    most = std::max(most, used);
    return shared(1) == kRacers;
  }));
  EXPECT_LE(most, kLimit);
  EXPECT_EQ(shared(0), kPieces);
  EXPECT_EQ(claimed(), kLimit);
  EXPECT_EQ(usage_page()->devices[0].memory_peak_bytes, kLimit);
}

TEST_F(Process, AForkedChildHasBooksOfItsOwn) {
  uint64_t ours = 0;
  ASSERT_EQ(cuMemAlloc_v2(&ours, 1 << 20), kSuccess);
  child([&] {
    cuMemFree_v2(ours);  // not the child's to give back
    uint64_t theirs = 0;
    if (cuMemAlloc_v2(&theirs, 2 << 20) == kSuccess) add(0, 1);
  });
  ASSERT_TRUE(becomes_true([&] { return shared(0) == 1; }));
  EXPECT_EQ(claimed(), 3u << 20);
  ASSERT_EQ(cuMemFree_v2(ours), kSuccess);
  EXPECT_EQ(claimed(), 2u << 20);
}

TEST_F(Process, AnotherProgramStartedByExecHoldsNothing) {
  child([&] {
    uint64_t address = 0;
    if (cuMemAlloc_v2(&address, kLimit) != kSuccess) _exit(1);
    add(0, 1);
    while (shared(0) < 2) std::this_thread::yield();
    execl("/bin/sleep", "sleep", "100", nullptr);
    _exit(1);
  });
  ASSERT_TRUE(becomes_true([&] { return shared(0) == 1; }));
  EXPECT_FALSE(take_all_and_give_back());
  add(0, 1);
  EXPECT_TRUE(becomes_true(take_all_and_give_back)) << "although the pid lives on";
}

TEST_F(Process, AnAllocationMayWaitForRoomButNotForever) {
  uint64_t ours = 0, more = 0;
  ASSERT_EQ(cuMemAlloc_v2(&ours, kLimit), kSuccess);
  set_memory_wait(50'000);  // 50 ms of the machine's
  const auto started = std::chrono::steady_clock::now();
  EXPECT_EQ(cuMemAlloc_v2(&more, kGrain), kOutOfMemory);
  const auto waited = std::chrono::steady_clock::now() - started;
  EXPECT_GE(waited, std::chrono::milliseconds(45));
  EXPECT_LT(waited, kPatience);
  EXPECT_EQ(cuMemAlloc_v2(&more, kLimit + kGrain), kOutOfMemory) << "never fits: not waited for";

  set_memory_wait(20'000'000);
  const pid_t waiting = child([&] {
    add(0, 1);
    uint64_t address = 0;
    if (cuMemAlloc_v2(&address, kLimit) == kSuccess) add(1, 1);
    add(0, 1);
  });
  ASSERT_TRUE(becomes_true([&] { return shared(0) == 1 && state(waiting) == 'S'; }));
  ASSERT_EQ(cuMemFree_v2(ours), kSuccess);
  EXPECT_TRUE(becomes_true([&] { return shared(1) == 1; }));
  set_memory_wait(0);
}

sigjmp_buf g_away;
bool g_leave = false;
void on_alarm(int) {
  if (g_leave) siglongjmp(g_away, 1);
}
void interrupt_often() {
  struct sigaction action = {};
  action.sa_handler = on_alarm;
  sigaction(SIGVTALRM, &action, nullptr);
  const itimerval often{{0, 1000}, {0, 1000}};
  setitimer(ITIMER_VIRTUAL, &often, nullptr);
}

TEST_F(Process, InterruptedCallsLoseNothing) {
  child([&] {
    interrupt_often();
    uint64_t address = 0;
    for (int i = 0; i < 300'000; ++i) {
      if (cuMemAlloc_v2(&address, 4096) != kSuccess || cuMemFree_v2(address) != kSuccess) _exit(1);
      if (cuMemAlloc_v2(&address, kLimit + kGrain) != kOutOfMemory) _exit(1);
    }
    add(0, 1);
  });
  ASSERT_TRUE(becomes_true([&] { return shared(0) == 1; }));
  EXPECT_EQ(claimed(), 0u);
}

// It is the program's bug, and it may hang itself; its peers go on, and it is charged no less than it holds.
TEST_F(Process, WhoLeavesCallsForGoodDoesNotHoldUpItsPeers) {
  child([&] {
    interrupt_often();
    g_leave = true;
    volatile int left = 0;
    if (sigsetjmp(g_away, 1) != 0) left = left + 1;
    if (left >= 50) {
      g_leave = false;
      add(0, 1);
      while (true) pause();
    }
    while (true) {
      uint64_t address = 0;
      if (cuMemAlloc_v2(&address, 4096) == kSuccess) cuMemFree_v2(address);
      add(1, 1);
    }
  });
  for (int i = 0; i < 2000; ++i) {
    uint64_t address = 0;
    ASSERT_EQ(cuMemAlloc_v2(&address, 1 << 20), kSuccess) << i;
    ASSERT_EQ(cuMemFree_v2(address), kSuccess);
    if (i % 100 == 0) std::this_thread::yield();
  }
  becomes_true([&, last = uint64_t{0}, since = std::chrono::steady_clock::now()]() mutable {
    if (shared(1) != last) since = std::chrono::steady_clock::now();
    last = shared(1);
    return shared(0) == 1 || std::chrono::steady_clock::now() - since > std::chrono::seconds(1);
  });
  EXPECT_LE(claimed(), 4096u * 51);
}

TEST_F(Process, ThreadsThatShareAProcessKeepItsBooks) {
  child([&] {
    const auto work = [] {
      for (int i = 0; i < 100'000; ++i) {
        uint64_t address = 0;
        if (cuMemAlloc_v2(&address, 8192) != kSuccess || cuMemFree_v2(address) != kSuccess) _exit(1);
      }
    };
    std::thread a(work), b(work), c(work);
    a.join();
    b.join();
    c.join();
    add(0, 1);
  });
  ASSERT_TRUE(becomes_true([&] { return shared(0) == 1; }));
  EXPECT_EQ(claimed(), 0u);
}

}  // namespace
}  // namespace tweendeck::vgpu::test

int main(int argc, char** argv) {
  tweendeck::vgpu::test::become_tenant(argv, tweendeck::vgpu::test::kLimit);
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}

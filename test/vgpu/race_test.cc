// Every interleaving that matters of two that want the last room of a slice: one is stopped at each instruction
// of its request in turn, the other asks meanwhile. Exactly one of them may get it.
//
// That the harness would see a library that checks first and adds afterwards is shown with one.
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cstdio>
#include <functional>

#include "tenant_of_null.h"
#include "traced.h"

namespace tweendeck::vgpu::test {
namespace {

constexpr uint64_t kLimit = 64 << 20;
constexpr uint64_t kLarge = 40 << 20;  // of which only one fits
constexpr unsigned kHangSeconds = 600;

// Every instruction is for `make soak`.
uint64_t every(uint64_t quick) {
  return getenv("TWEENDECK_SOAK") != nullptr ? 1 : quick;
}

// How memory is asked for and given back.
struct Way {
  bool (*take)();
  void (*give_back)();
};

uint64_t g_address;

bool take_by_library() {
  return cuMemAlloc_v2(&g_address, kLarge) == kSuccess;
}
void give_back_to_library() {
  EXPECT_EQ(cuMemFree_v2(g_address), kSuccess);
}

constexpr Way kLibrary{take_by_library, give_back_to_library};

// A refusal frees the slots of the dead: the next victim is in the same one, and its window as long.
void take_back() {
  uint64_t address = 0, all = 0;
  EXPECT_EQ(cuMemAlloc_v2(&address, 1 << 20), kSuccess);
  EXPECT_EQ(cuMemAlloc_v2(&all, kLimit), kOutOfMemory);
  EXPECT_EQ(cuMemFree_v2(address), kSuccess);
  EXPECT_EQ(claimed(), 0u);
}

uint64_t& own_used_bytes() {
  tw_vgpu_usage_page* const page = usage_page();
  for (uint32_t i = 0; i < TW_VGPU_MAX_SLOTS; ++i) {
    if (tw_vgpu_owner_pid(tw_vgpu_load(&page->slots[i].owner)) == static_cast<uint32_t>(getpid()))
      return page->books[0][i].used_bytes;
  }
  _exit(5);
}

// The mistake.
bool check_then_add() {
  uint64_t& used = own_used_bytes();
  if (claimed() + kLarge > kLimit) return false;
  __atomic_fetch_add(&used, kLarge, __ATOMIC_SEQ_CST);
  return true;
}
void subtract() {
  __atomic_fetch_sub(&own_used_bytes(), kLarge, __ATOMIC_SEQ_CST);
}

// A pair that fits, so that everything is attached, mapped and linked before the window.
void warm_up() {
  uint64_t address = 0;
  if (cuMemAlloc_v2(&address, 1 << 20) != kSuccess || cuMemFree_v2(address) != kSuccess) _exit(3);
  own_used_bytes();
  if (claimed() > kLimit) _exit(3);
}

struct Outcome {
  uint64_t interleavings = 0;
  uint64_t both = 0;
  uint64_t neither = 0;
};

class Race : public ::testing::Test {
 protected:
  void SetUp() override {
    alarm(kHangSeconds);
    ASSERT_EQ(cuInit(0), kSuccess);
    warm_up();
    void* memory = mmap(nullptr, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ASSERT_NE(memory, MAP_FAILED);
    granted_ = static_cast<bool*>(memory);
    if (!Traced({"nothing", warm_up, [] {}}).started()) GTEST_SKIP() << "no ptrace here";
  }
  void TearDown() override {
    munmap(granted_, 4096);
    alarm(0);
  }

  // `prepare` comes before each.
  Outcome at_every_instruction(const Way& way, uint64_t stride, void (*prepare)()) {
    const OnOneCpu on_one_cpu;
    const Window window{"taking the last room", warm_up, [&] { *granted_ = way.take(); }};
    Outcome seen;
    for (uint64_t at = 0;; at += stride) {
      Traced other(window);
      prepare();
      if (!other.started()) ADD_FAILURE() << "at instruction " << at;
      *granted_ = false;
      for (uint64_t step = 0; step < at; ++step) {
        if (!other.step()) return seen;  // the window is shorter
      }
      const bool mine = way.take();
      if (!other.run_to_end()) ADD_FAILURE() << "at instruction " << at;
      seen.both += mine && *granted_ ? 1 : 0;
      seen.neither += !mine && !*granted_ ? 1 : 0;
      ++seen.interleavings;
      if (mine) way.give_back();
      other.kill_now();
      take_back();
      if (HasFailure()) return seen;
    }
  }

  bool* granted_ = nullptr;
};

TEST_F(Race, TheHarnessFindsACheckThatTheAddComesAfter) {
  const Outcome seen = at_every_instruction({check_then_add, subtract}, every(2), [] {});
  EXPECT_GT(seen.both, 0u) << "of " << seen.interleavings;
  std::printf("check, then add: both got the last room in %lu of %lu interleavings\n",
              static_cast<unsigned long>(seen.both), static_cast<unsigned long>(seen.interleavings));
}

TEST_F(Race, TheLibraryGivesTheLastRoomToExactlyOneOfTwo) {
  const Outcome seen = at_every_instruction(kLibrary, every(4), [] {});
  EXPECT_GT(seen.interleavings, 20u);
  EXPECT_EQ(seen.both, 0u);
  EXPECT_EQ(seen.neither, 0u);
  std::printf("the library: exactly one in all %lu interleavings\n",
              static_cast<unsigned long>(seen.interleavings));
}

// What it held is there for one of them, whoever takes it back.
TEST_F(Race, TheRoomOfADeadHolderGoesToExactlyOneOfTwo) {
  const Outcome seen = at_every_instruction(kLibrary, every(24), [] {
    Traced holder({"holding", [] { take_by_library(); }, [] {}});
    ASSERT_TRUE(holder.started());
  });
  EXPECT_GT(seen.interleavings, 20u);
  EXPECT_EQ(seen.both, 0u);
  EXPECT_EQ(seen.neither, 0u);
}

}  // namespace
}  // namespace tweendeck::vgpu::test

int main(int argc, char** argv) {
  tweendeck::vgpu::test::become_tenant(argv, tweendeck::vgpu::test::kLimit);
  ::testing::InitGoogleTest(&argc, argv);
  return RUN_ALL_TESTS();
}

// Shared by the tests of the books: processes that a test makes live and die, and a usage page for them.
#pragma once

#include <gtest/gtest.h>
#include <stdint.h>

#include <algorithm>
#include <map>
#include <memory>
#include <vector>

#include "vgpu/books.h"

namespace tweendeck::vgpu::testing {

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

inline const System kFake{
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

inline constexpr uint64_t kLimit = 1000;

}  // namespace tweendeck::vgpu::testing

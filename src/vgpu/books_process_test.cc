// The books in the hands of real processes.
#include <gtest/gtest.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <random>
#include <thread>
#include <vector>

#include "vgpu/books.h"

namespace tweendeck::vgpu {
namespace {

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

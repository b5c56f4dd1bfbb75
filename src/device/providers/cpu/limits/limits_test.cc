// What processes really get inside slices of this machine's CPU device, measured from outside.
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <memory>
#include <optional>

#include "base/clock.h"
#include "base/units.h"
#include "device/providers/cpu/cpu_provider.h"

namespace tweendeck::device {
namespace {

constexpr Nanos kMeasured = 5 * kSecond;
constexpr uint64_t kHogBytes = 256 * kMiB;

class LimitsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    Result<std::unique_ptr<Groups>> groups =
        Groups::open(kernel_, "/", "limits test " + std::to_string(::getpid()));
    if (!groups) GTEST_SKIP() << to_string(groups.error());
    groups_ = std::move(*groups);
    cpu_.emplace(kernel_, groups_.get());
    device_ = cpu_->discover()->at(0);
  }
  void TearDown() override {
    for (pid_t child : children_) ::kill(child, SIGKILL);
    for (pid_t child : children_) ::waitpid(child, nullptr, 0);
    if (groups_ == nullptr) return;
    for (const std::string& id : groups_->list()) EXPECT_TRUE(groups_->remove(id));
    groups_->remove_empty_base();
  }

  Preparation slice(const std::string& id, uint64_t memory_bytes, uint32_t compute_percent) {
    Result<Preparation> made = cpu_->prepare(
        {.id = id,
         .device_id = device_.id,
         .share = {.memory_bytes = memory_bytes, .compute_percent = compute_percent, .priority = 0},
         .owner = id,
         .deployment = "limits"});
    EXPECT_TRUE(made) << to_string(made.error());
    return made ? *made : Preparation{};
  }

  // Runs `work` in a child inside the slice, or outside any slice when `inside` is null.
  template <class Work>
  pid_t start(const Preparation* inside, Work work) {
    pid_t child = ::fork();
    if (child == 0) {
      std::string pid = std::to_string(::getpid());
      if (inside != nullptr) {
        for (const std::string& path : inside->cgroup_procs) {
          if (kernel_.write(path, pid) != 0) ::_exit(2);
        }
      }
      work();
      ::_exit(0);
    }
    children_.push_back(child);
    return child;
  }
  pid_t start_busy(const Preparation* inside) {
    return start(inside, [] {
      for (volatile uint64_t i = 0;; i = i + 1) {
      }
    });
  }

  // Percent of the device's CPU time that the slice got in kMeasured.
  double measured_percent(const std::string& id) {
    SystemClock clock;
    uint64_t used = cpu_->usage(id)->compute_ns;
    Nanos begin = clock.now();
    kernel_.pause(kMeasured);
    used = cpu_->usage(id)->compute_ns - used;
    return 100.0 * static_cast<double>(used) /
           static_cast<double>((clock.now() - begin) * device_.compute_units);
  }

  Kernel kernel_;
  std::unique_ptr<Groups> groups_;
  std::optional<CpuProvider> cpu_;
  Device device_;
  std::vector<pid_t> children_;
};

TEST_F(LimitsTest, ABusySliceGetsItsTwentyPercentBesideOtherLoad) {
  Preparation twenty = slice("twenty", 64 * kMiB, 20);
  Preparation neighbour = slice("neighbour", 64 * kMiB, 50);
  for (uint32_t i = 0; i < device_.compute_units; ++i) {
    start_busy(&twenty);
    start_busy(&neighbour);
    start_busy(nullptr);
  }
  double percent = measured_percent("twenty");
  EXPECT_GE(percent, 18.0);
  EXPECT_LE(percent, 22.0);
  RecordProperty("percent", std::to_string(percent));
}

TEST_F(LimitsTest, AProcessOverItsMemoryIsStoppedAlone) {
  Preparation small = slice("small", 64 * kMiB, 20);
  Preparation neighbour = slice("neighbour", 64 * kMiB, 20);
  pid_t bystander = start(&neighbour, [] { ::pause(); });
  pid_t hog = start(&small, [] {
    void* memory = ::mmap(nullptr, kHogBytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED) ::_exit(3);
    for (uint64_t at = 0; at < kHogBytes; at += 4096) static_cast<volatile char*>(memory)[at] = 1;
  });
  int status = 0;
  ASSERT_EQ(::waitpid(hog, &status, 0), hog);
  std::erase(children_, hog);
  ASSERT_TRUE(WIFSIGNALED(status)) << "the hog got its 256 MiB in a slice of 64 MiB";
  EXPECT_EQ(WTERMSIG(status), SIGKILL);
  Result<SliceUsage> usage = cpu_->usage("small");
  ASSERT_TRUE(usage);
  EXPECT_EQ(usage->oom_kills, 1u);
  EXPECT_LE(usage->memory_peak_bytes, 64 * kMiB);
  EXPECT_EQ(cpu_->usage("neighbour")->oom_kills, 0u);
  EXPECT_EQ(::waitpid(bystander, &status, WNOHANG), 0) << "the neighbour's process ended too";
}

}  // namespace
}  // namespace tweendeck::device

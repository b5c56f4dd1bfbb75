#include "device/providers/nvml/slice_loop.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <chrono>
#include <filesystem>
#include <thread>

#include "device/providers/nvml/tenants.h"

namespace tweendeck::device::nvml {
namespace {

constexpr const char* kUuid = "GPU-01234567-89ab-cdef-0123-456789abcdef";
constexpr std::chrono::seconds kLongest{5};

// Slices on disk, and what a driver would say about them.
class SliceLoopTest : public ::testing::Test {
 protected:
  SliceLoopTest() {
    char name[] = "/tmp/tw-loop-XXXXXX";
    folder_ = mkdtemp(name);
    pages_.emplace(folder_);
  }
  ~SliceLoopTest() override {
    loop_.reset();
    std::filesystem::remove_all(folder_);
  }

  Slice make(const std::string& id, uint32_t own, uint32_t ceiling) {
    Slice slice;
    slice.id = id;
    slice.share = {.memory_bytes = 1 << 30, .compute_percent = own};
    slice.share.ceiling_percent = ceiling;
    expected_ = pages_->write(slice, kUuid).value();
    return slice;
  }
  void start() {
    loop_ = std::make_unique<SliceLoop>(
        *pages_, SliceLoop::Driver{
                     .utilization = [](const std::string&, uint64_t) { return std::vector<Utilization>{}; },
                     .processes = [this](const std::string&) -> Result<std::vector<Process>> {
                       return listed_.load() == 0 ? std::vector<Process>{}
                                                  : std::vector<Process>{{listed_.load(), 1 << 28}};
                     }});
  }
  template <class Page>
  Page* map(const std::string& path) {
    const int fd = open(path.c_str(), O_RDWR);
    void* memory = mmap(nullptr, sizeof(Page), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    close(fd);
    return static_cast<Page*>(memory);
  }
  static bool wait_for(const std::function<bool()>& condition) {
    const auto end = std::chrono::steady_clock::now() + kLongest;
    while (std::chrono::steady_clock::now() < end) {
      if (condition()) return true;
      std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    return false;
  }
  bool finds(Reason reason) {
    return wait_for([&] {
      for (const Finding& finding : loop_->findings())
        if (finding.reason == reason) return true;
      return false;
    });
  }

  std::string folder_;
  std::optional<SlicePages> pages_;
  tw_vgpu_limit_set expected_{};
  std::atomic<uint32_t> listed_{0};
  std::unique_ptr<SliceLoop> loop_;
};

TEST_F(SliceLoopTest, LendsAnIdleDeviceToWhoWaitsAndTakesItBackForItsOwner) {
  make("borrower", 30, 100);
  make("owner", 70, 0);
  auto* borrower = map<tw_vgpu_usage_page>(pages_->usage_path("borrower"));
  auto* owner = map<tw_vgpu_usage_page>(pages_->usage_path("owner"));
  auto* limits = map<tw_vgpu_limits_page>(pages_->limits_path("borrower"));
  start();
  SystemClock clock;
  const auto wants = [&](tw_vgpu_usage_page* page) {
    tw_vgpu_store(&page->devices[0].last_wait_ns, static_cast<uint64_t>(clock.now()));
  };
  EXPECT_TRUE(wait_for([&] {
    wants(borrower);
    return tw_vgpu_load(&limits->feedback[0].effective_permille) == 1000;
  }));
  EXPECT_LT(static_cast<uint64_t>(clock.now()) - tw_vgpu_load(&limits->feedback[0].effective_stamp_ns),
            uint64_t{kSecond});
  EXPECT_TRUE(wait_for([&] {
    wants(borrower);
    wants(owner);
    return tw_vgpu_load(&limits->feedback[0].effective_permille) == 300;
  }));
  munmap(borrower, sizeof(*borrower));
  munmap(owner, sizeof(*owner));
  munmap(limits, sizeof(*limits));
}

TEST_F(SliceLoopTest, PutsBackLimitsThatSomebodyElseWroteAndTellsIt) {
  make("a", 30, 0);
  start();
  loop_->expect_limits("a", expected_);
  auto* limits = map<tw_vgpu_limits_page>(pages_->limits_path("a"));
  tw_vgpu_limit_set forged = expected_;
  forged.devices[0].memory_bytes = 0;
  tw_vgpu_publish_limits(limits, &forged);
  EXPECT_TRUE(finds(Reason::PageTampered));
  EXPECT_EQ(pages_->limits("a")->devices[0].memory_bytes, 1u << 30);
  munmap(limits, sizeof(*limits));
}

TEST_F(SliceLoopTest, FindsAUsagePageThatWasCutOrRemoved) {
  make("cut", 30, 0);
  make("removed", 30, 0);
  make("never-seen-whole", 30, 0);
  std::filesystem::remove(pages_->usage_path("never-seen-whole"));
  start();
  ASSERT_TRUE(wait_for([&] { return loop_->cost().rounds > 3; }));
  EXPECT_TRUE(wait_for([&] { return loop_->findings().size() == 1; }));
  std::filesystem::resize_file(pages_->usage_path("cut"), 0);
  std::filesystem::remove(pages_->usage_path("removed"));
  EXPECT_TRUE(wait_for([&] { return loop_->findings().size() == 3; }));
}

TEST_F(SliceLoopTest, FindsAProcessWithoutASlotEvenBesideAForgedOne) {
  make("a", 30, 0);
  start();
  const pid_t child = fork();  // this process has the page mapped, by the loop
  if (child == 0) {
    execlp("sleep", "sleep", "60", nullptr);
    _exit(1);
  }
  listed_ = static_cast<uint32_t>(child);
  EXPECT_TRUE(finds(Reason::SliceBypassed));
  // A slot in its name, written by somebody else: it does not map the page.
  const int fd = open(pages_->usage_path("a").c_str(), O_RDWR);
  const uint64_t owner = tw_vgpu_owner(listed_, *start_ticks(listed_), 0), one = 1;
  ASSERT_EQ(pwrite(fd, &owner, sizeof(owner), offsetof(tw_vgpu_usage_page, slots[0].owner)), 8);
  ASSERT_EQ(pwrite(fd, &one, sizeof(one), offsetof(tw_vgpu_usage_page, slots_in_use)), 8);
  close(fd);
  const uint64_t rounds = loop_->cost().rounds;
  ASSERT_TRUE(wait_for([&] { return loop_->cost().rounds > rounds + 30; }));
  EXPECT_TRUE(finds(Reason::SliceBypassed));
  kill(child, SIGKILL);
  waitpid(child, nullptr, 0);
  listed_ = 0;
  EXPECT_TRUE(wait_for([&] { return loop_->findings().empty(); }));
}

TEST_F(SliceLoopTest, MapsEachSliceOnceHoweverManyRoundsItTakes) {
  constexpr uint64_t kSlices = 64;
  for (uint64_t i = 0; i < kSlices; ++i) make("s" + std::to_string(i), 1, 100);
  auto* busy = map<tw_vgpu_usage_page>(pages_->usage_path("s0"));
  start();
  SystemClock clock;
  ASSERT_TRUE(wait_for([&] {
    tw_vgpu_store(&busy->devices[0].last_wait_ns, static_cast<uint64_t>(clock.now()));
    return loop_->cost().rounds > 100;
  }));
  EXPECT_EQ(loop_->cost().opened, kSlices) << "mapping pages anew each round is most of what a round costs";
  munmap(busy, sizeof(*busy));
}

TEST(SliceInCgroups, IsTheFolderBelowOurBaseGroup) {
  EXPECT_EQ(slice_in_cgroups("0::/a/tweendeck-0123/chat-1\n"), "chat-1");
  EXPECT_EQ(slice_in_cgroups("5:cpu:/tweendeck-0123/chat-1/nested/more\n1:x:/\n"), "chat-1");
  EXPECT_EQ(slice_in_cgroups("0::/user.slice/tweendeck-0123\n"), "");
  EXPECT_EQ(slice_in_cgroups("0::/tweendeck-0123/\n"), "");
  EXPECT_EQ(slice_in_cgroups(""), "");
}

}  // namespace
}  // namespace tweendeck::device::nvml

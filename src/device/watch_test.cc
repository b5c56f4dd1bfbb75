#include "device/watch.h"

#include <gtest/gtest.h>

#include <functional>
#include <utility>

namespace tweendeck::device {
namespace {

constexpr uint64_t kMiB = 1 << 20;

WatchedProcess honest(uint32_t pid = 7) {
  return {.pid = pid,
          .device = "GPU-1",
          .slice = "chat-1",
          .driver_bytes = 900 * kMiB,
          .has_slot = true,
          .booked_bytes = 880 * kMiB,
          .context_is_booked = true,
          .library_abi = 1};
}

// A slice that honestly uses `share` of its device, look by look.
class Life {
 public:
  explicit Life(uint32_t share) {
    slice_.id = "chat-1";
    slice_.share_permille = slice_.bucket_permille = share;
    slice_.share_used_until_ns = static_cast<uint64_t>(now_);
  }
  std::vector<Finding> look(const std::function<void(WatchedSlice&)>& change = {}) {
    now_ += kWatchPeriod;
    const auto used = static_cast<uint64_t>(kWatchPeriod) * slice_.share_permille / 1000;
    slice_.charged_ns += used;
    slice_.driver_busy_ns += used;
    slice_.share_used_until_ns += static_cast<uint64_t>(kWatchPeriod);
    slice_.launches += 10;
    if (change) change(slice_);
    return watch_.look(now_, processes, {slice_});
  }
  std::vector<Finding> looks(int count, const std::function<void(WatchedSlice&)>& change = {}) {
    std::vector<Finding> last;
    for (int i = 0; i < count; ++i) last = look(change);
    return last;
  }
  std::vector<WatchedProcess> processes{honest()};

 private:
  Watch watch_;
  WatchedSlice slice_;
  Nanos now_ = kSecond;
};

Reason only(const std::vector<Finding>& findings) {
  return findings.size() == 1 ? findings[0].reason : Reason::None;
}

constexpr int kLooksOfASecond = static_cast<int>(kSecond / kWatchPeriod);

TEST(Watch, AnHonestSliceIsLeftAlone) {
  Life life(300);
  for (int i = 0; i < 50; ++i) EXPECT_TRUE(life.look().empty()) << i;
}

TEST(Watch, AProcessWithoutASlotIsFoundAndForgottenWhenItEnds) {
  Life life(300);
  WatchedProcess bare{.pid = 9, .device = "GPU-1", .slice = "", .driver_bytes = 300 * kMiB};
  life.processes.push_back(bare);
  EXPECT_TRUE(life.look().empty()) << "it may be just starting";
  const auto found = life.look();
  ASSERT_EQ(only(found), Reason::SliceBypassed);
  EXPECT_EQ(found[0].pid, 9u);
  EXPECT_EQ(found[0].slice_id, "");
  life.processes[1].slice = "chat-1";
  life.look();
  EXPECT_EQ(life.look()[0].slice_id, "chat-1");
  life.processes.pop_back();
  EXPECT_TRUE(life.look().empty());
}

TEST(Watch, BooksThatSayLessThanTheDriverAreForged) {
  Life life(300);
  life.processes[0].booked_bytes = 100 * kMiB;
  EXPECT_EQ(only(life.looks(2)), Reason::BooksForged);
  life.processes[0].context_is_booked = false;
  life.processes[0].booked_bytes = 300 * kMiB;
  EXPECT_TRUE(life.looks(2).empty()) << "a context that could not be measured explains it";
}

TEST(Watch, ALibraryOfAnotherVersionIsTold) {
  Life life(300);
  life.processes[0].library_abi = 0;
  EXPECT_EQ(only(life.looks(2)), Reason::LibraryStale);
}

TEST(Watch, PagesThatSomebodyElseWroteAreFound) {
  Life rewritten(300);
  rewritten.look([](WatchedSlice& s) { s.limits_intact = false; });
  EXPECT_EQ(only(rewritten.look([](WatchedSlice& s) { s.limits_intact = true; })), Reason::PageTampered)
      << "put back at once, and told all the same";
  EXPECT_EQ(only(Life(300).looks(2, [](WatchedSlice& s) { s.usage_intact = false; })), Reason::PageTampered);
}

TEST(Watch, MoreThanTheShareIsFoundWithinASecond) {
  Life life(300);
  life.looks(10);
  EXPECT_EQ(only(life.looks(kLooksOfASecond, [](WatchedSlice& s) { s.driver_busy_ns += kWatchPeriod / 2; })),
            Reason::ShareExceeded);
}

TEST(Watch, WorkThatTheLibraryDoesNotSeeIsFound) {
  Life life(300);
  life.looks(10);
  const auto unseen = static_cast<uint64_t>(kWatchPeriod) * 299 / 1000;
  EXPECT_EQ(only(life.looks(kLooksOfASecond, [&](WatchedSlice& s) { s.charged_ns -= unseen; })),
            Reason::ShareExceeded);
}

TEST(Watch, ABucketThatIsMovedBackIsFoundWithinASecond) {
  Life life(300);
  life.looks(10);
  EXPECT_EQ(only(life.looks(kLooksOfASecond, [](WatchedSlice& s) { s.share_used_until_ns = 1; })),
            Reason::BooksForged);
}

TEST(Watch, CountersThatShrinkAreFound) {
  Life life(300);
  life.looks(10);
  bool done = false;
  const auto found = life.looks(3, [&](WatchedSlice& s) {
    if (!std::exchange(done, true)) s.charged_ns /= 2;
  });
  EXPECT_EQ(only(found), Reason::BooksForged);
}

TEST(Watch, OneLongKernelIsNoTampering) {
  Life life(300);
  life.looks(10);
  int look = 0;
  EXPECT_TRUE(life.looks(20,
                         [&](WatchedSlice& s) {
                           // Two seconds of work charged at once move the bucket accordingly.
                           if (look++ == 0) {
                             s.charged_ns += 2 * kSecond;
                             s.share_used_until_ns += static_cast<uint64_t>(2 * kSecond) * 1000 / 300;
                           }
                         })
                  .empty());
}

TEST(Watch, AShareThatChangesMovesTheBucketByItself) {
  Life life(300);
  life.looks(10);
  bool done = false;
  EXPECT_TRUE(life.looks(12,
                         [&](WatchedSlice& s) {
                           if (!std::exchange(done, true)) {
                             s.share_permille = s.bucket_permille = 600;
                             s.share_used_until_ns -= 100 * kMillisecond;
                           }
                         })
                  .empty());
}

}  // namespace
}  // namespace tweendeck::device

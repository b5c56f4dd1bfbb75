#include "device/borrowing.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <numeric>

#include "vgpu/page.h"

namespace tweendeck::device {
namespace {

// A device that gives each slice at most its share of each round, and slices that want a part of the device.
class Bench {
 public:
  explicit Bench(std::vector<SliceActivity> slices) : slices_(std::move(slices)), demand_(slices_.size()) {
    for (size_t i = 0; i < slices_.size(); ++i) slices_[i].id = "s" + std::to_string(i);
  }

  void want(size_t slice, uint32_t permille) { demand_[slice] = permille; }
  SliceActivity& slice(size_t index) { return slices_[index]; }

  const std::vector<ShareGrant>& round(uint32_t others = 0) {
    now_ += kBorrowPeriod;
    for (size_t i = 0; i < slices_.size(); ++i) {
      const uint32_t lent = grants_.empty() ? 0 : grants_[i].effective_permille;
      const uint32_t share =
          tw_vgpu_share_in_force(slices_[i].floor_permille, slices_[i].ceiling_permille, lent);
      slices_[i].charged_ns += kBorrowPeriod / kWholePermille * std::min(demand_[i], share);
      if (demand_[i] > share) slices_[i].throttled_ns += kBorrowPeriod / 2;
    }
    return grants_ = borrowing_.decide(now_, slices_, others);
  }
  const std::vector<ShareGrant>& rounds(Nanos time) {
    for (Nanos spent = 0; spent < time; spent += kBorrowPeriod) round();
    return grants_;
  }
  const Borrowing& borrowing() const { return borrowing_; }

 private:
  std::vector<SliceActivity> slices_;
  std::vector<uint32_t> demand_;
  std::vector<ShareGrant> grants_;
  Borrowing borrowing_;
  Nanos now_ = kSecond;
};

SliceActivity made(uint32_t floor, uint32_t ceiling, uint32_t weight = 1, int32_t priority = 0) {
  SliceActivity slice;
  slice.floor_permille = floor;
  slice.ceiling_permille = ceiling;
  slice.weight = weight;
  slice.priority = priority;
  return slice;
}

TEST(Borrowing, TheOnlyBusySliceGetsTheIdleDeviceAtOnce) {
  Bench bench({made(300, 1000), made(700, 1000)});
  bench.want(0, 1000);
  bench.round();
  EXPECT_EQ(bench.round()[0].effective_permille, 1000u);
  EXPECT_EQ(bench.rounds(200 * kMillisecond)[0].borrowed_permille, 700u);
  EXPECT_TRUE(bench.borrowing().is_busy());
}

TEST(Borrowing, AReturningOwnerHasItsFloorAfterOneRound) {
  Bench bench({made(300, 1000), made(700, 1000)});
  bench.want(0, 1000);
  bench.rounds(500 * kMillisecond);
  bench.want(1, 1000);
  const auto grants = bench.round();
  EXPECT_EQ(grants[0].effective_permille, 300u);
  EXPECT_EQ(grants[1].effective_permille, 700u);
}

TEST(Borrowing, AnOwnerThatBorrowersSlowDownIsNotTakenForOneThatWantsLittle) {
  Bench bench({made(300, 1000), made(700, 1000)});
  bench.want(0, 1000);
  bench.rounds(500 * kMillisecond);
  bench.want(1, 50);  // what it gets done at first beside the borrower's queue
  EXPECT_EQ(bench.round()[1].reserve_permille, 700u);
  EXPECT_LE(bench.round()[0].effective_permille, 300u);
}

TEST(Borrowing, AnOwnerWhoseLongKernelRunsNeedsItsFloorBeforeItIsCharged) {
  Bench bench({made(100, 1000), made(900, 1000)});
  bench.want(0, 1000);
  bench.rounds(500 * kMillisecond);
  for (int i = 0; i < 60; ++i) {
    bench.slice(1).last_active = kSecond * 1000;
    EXPECT_EQ(bench.round()[1].reserve_permille, 900u) << i;
    EXPECT_LE(bench.round()[0].effective_permille, 100u) << i;
  }
}

TEST(Borrowing, WhatAnOwnerDoesNotNeedIsLentAndTakenBackWhenItNeedsIt) {
  Bench bench({made(300, 1000), made(700, 1000)});
  bench.want(0, 1000);
  bench.want(1, 200);
  const auto lent = bench.rounds(kSecond);
  EXPECT_GE(lent[0].effective_permille, 700u);
  EXPECT_LE(lent[0].effective_permille, 800u);
  bench.want(1, 600);
  EXPECT_EQ(bench.rounds(4 * kBorrowPeriod)[1].reserve_permille, 700u);
  EXPECT_LE(bench.round()[0].effective_permille, 300u);
}

TEST(Borrowing, IdleTimeGoesByWeightWithinAPriorityAndByPriorityBefore) {
  Bench equal({made(100, 1000, 1), made(100, 1000, 3), made(800, 1000)});
  equal.want(0, 1000);
  equal.want(1, 1000);
  const auto grants = equal.rounds(100 * kMillisecond);
  EXPECT_NEAR(grants[0].borrowed_permille, 200, 1);
  EXPECT_NEAR(grants[1].borrowed_permille, 600, 1);

  Bench ranked({made(100, 600, 1, 5), made(100, 1000, 9, 0), made(800, 1000)});
  ranked.want(0, 1000);
  ranked.want(1, 1000);
  const auto by_rank = ranked.rounds(100 * kMillisecond);
  EXPECT_EQ(by_rank[0].effective_permille, 600u) << "up to its ceiling first";
  EXPECT_EQ(by_rank[1].effective_permille, 400u);
}

TEST(Borrowing, PausedAndFinishedSlicesLendAllAndNothingIsBusyWhenNobodyWants) {
  Bench bench({made(500, 1000), made(500, 1000)});
  bench.want(0, 1000);
  bench.want(1, 1000);
  bench.rounds(100 * kMillisecond);
  bench.slice(1).paused = true;
  bench.want(1, 0);
  EXPECT_EQ(bench.round()[0].effective_permille, 1000u);
  bench.want(0, 0);
  bench.rounds(kLendAfter + 2 * kBorrowPeriod);
  EXPECT_FALSE(bench.borrowing().is_busy());
}

TEST(Borrowing, WhoHasHadItsFloorYieldsToAHigherPriorityAtWork) {
  Bench bench({made(200, 1000, 1, 0), made(300, 1000, 1, 5)});
  bench.want(0, 1000);
  EXPECT_FALSE(bench.rounds(200 * kMillisecond)[0].yields) << "nobody above it works";
  bench.want(1, 100);
  bench.round();
  EXPECT_TRUE(bench.round()[0].yields);
  EXPECT_FALSE(bench.round()[1].yields);
  bench.want(1, 0);
  EXPECT_FALSE(bench.rounds(4 * kBorrowPeriod)[0].yields);
}

TEST(Borrowing, TimeUsedOutsideOfSlicesIsNotLent) {
  Bench bench({made(300, 1000), made(300, 1000)});
  bench.want(0, 1000);
  bench.round();
  EXPECT_EQ(bench.round(250)[0].effective_permille, 750u);
}

TEST(BorrowingProperties, NeverMoreThanTheWholeNeverLessThanWhatIsFree) {
  for (uint64_t seed = 0; seed < 300; ++seed) {
    Random random(seed);
    std::vector<SliceActivity> slices;
    uint32_t left = kWholePermille;
    for (uint64_t i = 0, count = 1 + random.below(6); i < count; ++i) {
      const auto floor = static_cast<uint32_t>(random.below(left + 1));
      left -= floor;
      slices.push_back(made(floor, static_cast<uint32_t>(random.below(1001)),
                            static_cast<uint32_t>(random.below(5)), static_cast<int32_t>(random.below(3))));
    }
    Bench bench(slices);
    for (int step = 0; step < 60; ++step) {
      if (step % 12 == 0) {
        for (size_t i = 0; i < slices.size(); ++i)
          bench.want(i, random.below(2) == 0 ? 1000 : static_cast<uint32_t>(random.below(1001)));
      }
      const std::vector<ShareGrant>& grants = bench.round();
      uint32_t sum = 0;
      bool someone_short = false;
      for (size_t i = 0; i < grants.size(); ++i) {
        sum += grants[i].effective_permille;
        const uint32_t ceiling =
            std::max(slices[i].ceiling_permille == 0 ? kWholePermille : slices[i].ceiling_permille,
                     slices[i].floor_permille);
        EXPECT_LE(grants[i].effective_permille, ceiling) << seed;
        EXPECT_GE(grants[i].effective_permille, grants[i].reserve_permille) << seed;
        if (grants[i].wants_more) {
          EXPECT_GE(grants[i].effective_permille, slices[i].floor_permille) << seed;
          someone_short = someone_short || grants[i].effective_permille < ceiling;
        }
      }
      EXPECT_LE(sum, kWholePermille) << seed;
      // Whole permille per slice are lost to rounding at most.
      if (someone_short) {
        EXPECT_GE(sum + grants.size(), kWholePermille) << seed << " step " << step;
      }
    }
  }
}

}  // namespace
}  // namespace tweendeck::device

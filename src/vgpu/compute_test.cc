// GPU time: the bucket, learned durations and the trim, against slow references.
#include <gtest/gtest.h>

#include <algorithm>
#include <atomic>
#include <memory>
#include <random>
#include <thread>
#include <vector>

#include "vgpu/bucket.h"
#include "vgpu/durations.h"
#include "vgpu/trim.h"

namespace tweendeck::vgpu {
namespace {

constexpr uint64_t kMs = 1'000'000;
constexpr uint64_t kStart = 100'000 * kMs;

// Processes that always want to launch, on a device that runs their kernels in order; busy time per window.
std::vector<double> windows(uint32_t permille, uint64_t kernel_ns, uint32_t processes, uint64_t span_ns,
                            uint64_t window_ns) {
  uint64_t until = 0, now = kStart, device_free = now;
  std::vector<double> busy(span_ns / window_ns, 0);
  std::vector<uint64_t> done(processes, now);
  while (now < kStart + span_ns) {
    uint64_t next = UINT64_MAX;
    for (uint64_t& end : done) {
      if (end <= now && bucket_take(&until, now, kBurstNs, kernel_ns, kernel_ns, permille).granted) {
        const uint64_t start = std::max(now, device_free);
        end = device_free = start + kernel_ns;
        for (uint64_t at = start; at < end;) {
          const uint64_t window = (at - kStart) / window_ns,
                         stop = std::min(end, kStart + (window + 1) * window_ns);
          if (window < busy.size())
            busy[window] += 100.0 * static_cast<double>(stop - at) / static_cast<double>(window_ns);
          at = stop;
        }
      }
      next = std::min(next, std::max(end, now + bucket_wait_ns(&until, now)));
    }
    now = std::max(now + 1, next);
  }
  return busy;
}

TEST(Bucket, GivesTheShareWhateverTheKernelsLengthFromTheFirstWindowOn) {
  for (const uint32_t percent : {10u, 20u, 30u, 50u, 70u}) {
    for (const uint64_t kernel_ns : {kMs / 100, kMs / 10, kMs, 20 * kMs, 50 * kMs}) {
      for (const uint32_t processes : {1u, 4u, 16u}) {
        const std::vector<double> busy = windows(percent * 10, kernel_ns, processes, 5'000 * kMs, 250 * kMs);
        double sum = 0;
        const double slack = std::max(5.0, 100.0 * static_cast<double>(kernel_ns) / (250.0 * kMs)) + 0.01;
        for (const double share : busy) {
          sum += share;
          EXPECT_NEAR(share, percent, slack) << percent << " " << kernel_ns << " " << processes;
        }
        EXPECT_NEAR(sum / static_cast<double>(busy.size()), percent, 2.0) << kernel_ns << " " << processes;
      }
    }
  }
}

TEST(Bucket, AnIdleSliceKeepsABoundedCredit) {
  uint64_t until = 0, granted = 0;
  while (bucket_take(&until, kStart, kBurstNs, 1000, 1000, 300).granted) granted += 1000;
  EXPECT_NEAR(static_cast<double>(granted), 0.3 * kBurstNs, 2000.0);
}

TEST(Bucket, AGrantTakesTheCreditThereIsAndAtLeastOneUnit) {
  uint64_t until = kStart - 4 * kMs;
  EXPECT_EQ(bucket_take(&until, kStart, kBurstNs, kMs / 2, 10 * kMs, 500).gpu_ns, 2 * kMs);
  EXPECT_EQ(until, kStart);
  EXPECT_EQ(bucket_take(&until, kStart, kBurstNs, 30 * kMs, 10 * kMs, 500).gpu_ns, 30 * kMs)
      << "debt of one unit";
  EXPECT_EQ(bucket_wait_ns(&until, kStart), 60 * kMs);
  EXPECT_FALSE(bucket_take(&until, kStart + 59 * kMs, kBurstNs, 1, 1, 500).granted);
}

TEST(Bucket, OfSeveralThatFindItFreeOneGetsIt) {
  uint64_t until = kStart;
  std::atomic<int> granted = 0;
  std::vector<std::thread> threads;
  for (int i = 0; i < 4; ++i) {
    threads.emplace_back([&] {
      for (int k = 0; k < 1000; ++k)
        granted += bucket_take(&until, kStart, kBurstNs, 50 * kMs, 50 * kMs, 100).granted;
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(granted, 1);
}

TEST(Bucket, ACorrectionGivesBackButNeverMoreThanTheCredit) {
  uint64_t until = 0;
  bucket_charge(&until, kStart, kBurstNs, static_cast<int64_t>(100 * kMs), 500);
  EXPECT_EQ(bucket_wait_ns(&until, kStart), 200 * kMs - kBurstNs);
  bucket_charge(&until, kStart, kBurstNs, -static_cast<int64_t>(1'000'000 * kMs), 500);
  EXPECT_EQ(until, kStart - kBurstNs);
}

TEST(Bucket, ADebtIsOwedInGpuTime) {
  uint64_t until = kStart + 500 * kMs, share = 100;
  bucket_rescale(&until, &share, kStart, 1000);
  EXPECT_EQ(bucket_wait_ns(&until, kStart), 50 * kMs);
  bucket_rescale(&until, &share, kStart, 100);
  EXPECT_EQ(bucket_wait_ns(&until, kStart), 500 * kMs);
  bucket_rescale(&until, &share, kStart, 100);
  EXPECT_EQ(bucket_wait_ns(&until, kStart), 500 * kMs);
}

// The bucket against one that keeps its balance in GPU time and fractions.
TEST(Bucket, AgreesWithABalance) {
  std::mt19937_64 random(7);
  for (int run = 0; run < 50; ++run) {
    const uint32_t permille = static_cast<uint32_t>(random() % 950 + 10);
    uint64_t until = 0, now = kStart;
    const double rate = permille / 1000.0, full = rate * kBurstNs, kRounding = 2500;
    double balance = full;
    for (int step = 0; step < 2000; ++step) {
      const uint64_t pass = random() % (2 * kMs);
      now += pass;
      balance = std::min(full, balance + rate * static_cast<double>(pass));
      const uint64_t least = random() % (3 * kMs), most = least + random() % (3 * kMs);
      const BucketGrant grant = bucket_take(&until, now, kBurstNs, least, most, permille);
      if (balance > kRounding || balance < -kRounding) {
        ASSERT_EQ(grant.granted, balance > 0) << run << " " << step << " " << balance;
      }
      if (!grant.granted) continue;
      if (least > 0) {
        ASSERT_NEAR(
            static_cast<double>(grant.gpu_ns),
            std::clamp(balance, static_cast<double>(least), static_cast<double>(std::max(least, most))),
            kRounding);
      }
      balance -= static_cast<double>(grant.gpu_ns);
    }
  }
}

std::unique_ptr<Durations> known(uint64_t key, uint64_t ns, int times) {
  auto durations = std::make_unique<Durations>();
  for (int i = 0; i < times; ++i) durations->update(key, ns, ns);
  return durations;
}

TEST(Durations, AreSteadyAfterSomeAgreementAndThenMeasuredLessOften) {
  auto durations = known(5, 10'000, 1);
  EXPECT_EQ(durations->find(5).mean_ns, 10'000u);
  EXPECT_EQ(durations->find(5).unmeasured, 0u);
  EXPECT_EQ(*durations->find(5).cost, kNoCost);
  uint32_t before = 0;
  for (int i = 0; i < 20; ++i) {
    durations->update(5, 10'000, 10'000);
    EXPECT_GE(durations->find(5).unmeasured, before);
    before = durations->find(5).unmeasured;
  }
  EXPECT_EQ(before, Durations::kMostUnmeasured);
  EXPECT_EQ(*durations->find(5).cost, cost_word(10'000, 1));
  EXPECT_EQ(durations->find(6).mean_ns, 0u);
}

TEST(Durations, FollowAChangeWithinAFewLaunches) {
  for (const uint64_t after : {kMs / 100, 50 * kMs}) {
    auto durations = known(5, kMs, 20);
    durations->update(5, after, after);
    EXPECT_EQ(durations->find(5).unmeasured, 0u) << "measured each time from now on";
    for (int i = 0; i < 6; ++i) durations->update(5, after, after);
    EXPECT_NEAR(static_cast<double>(durations->find(5).mean_ns), static_cast<double>(after),
                static_cast<double>(after) / 4 + 20'000);
  }
}

TEST(Durations, WithOthersAboutAMeasurementIsOnlyAnUpperBound) {
  auto durations = known(5, 100'000, 6);
  for (int i = 0; i < 100; ++i) durations->update(5, 0, 400'000);
  EXPECT_EQ(durations->find(5).mean_ns, 100'000u);
  EXPECT_GT(durations->find(5).unmeasured, 0u);
  durations->update(5, 0, 40'000);
  EXPECT_EQ(durations->find(5).mean_ns, 40'000u);
  durations->update(5, 90'000, 400'000);
  EXPECT_EQ(durations->find(5).mean_ns, 90'000u) << "and its lower end holds, too";
}

TEST(Durations, ChargesAreProvisionalUntilOneMeasurementIsExact) {
  Durations durations;
  const auto charged = [&](uint64_t key, uint64_t least, uint64_t most, bool others = false) {
    const Charge charge = durations.update(key, least * kMs, most * kMs, others);
    return static_cast<int64_t>(charge.ns / kMs) - charge.refund_ns / static_cast<int64_t>(kMs);
  };
  // Only the slice's own work was beside it: by the shortest.
  EXPECT_EQ(charged(5, 0, 100), 100);
  EXPECT_EQ(charged(5, 0, 100), 100);
  EXPECT_EQ(charged(5, 0, 50), 150 - 200);
  EXPECT_EQ(charged(5, 40, 40), 160 - 150);
  EXPECT_EQ(charged(5, 0, 100), 40) << "from now on it is known";
  // Beside others: by half of the longest or by the shortest, and all by the exact one.
  EXPECT_EQ(charged(6, 0, 100, true), 50);
  EXPECT_EQ(charged(6, 0, 80, true), 50);
  EXPECT_EQ(charged(6, 0, 40, true), 120 - 100);
  EXPECT_EQ(charged(6, 55, 55), 220 - 120);
  // After some launches the half is no longer believed.
  for (int i = 0; i < Durations::kGuessedLaunches; ++i) EXPECT_EQ(charged(7, 0, 100, true), 50);
  EXPECT_EQ(charged(7, 0, 100, true), 100);
}

TEST(Durations, AKernelThatVariesIsToldFromOneThatChangedOnce) {
  auto durations = known(5, kMs, 10);
  for (int i = 0; i < 3; ++i) durations->update(5, 3 * kMs, 3 * kMs);
  EXPECT_FALSE(durations->find(5).varies);
  for (int i = 0; i < 20; ++i) durations->update(5, (i % 2 * 4 + 1) * kMs, (i % 2 * 4 + 1) * kMs);
  EXPECT_TRUE(durations->find(5).varies);
  EXPECT_EQ(durations->find(5).unmeasured, 0u);
}

TEST(Durations, ADoubtedKeyIsMeasuredAgainAndAForgottenOneIsUnknown) {
  auto durations = known(5, kMs, 10);
  durations->doubt(5);
  EXPECT_EQ(durations->find(5).mean_ns, kMs);
  EXPECT_EQ(durations->find(5).unmeasured, 0u);
  durations->forget(5);
  EXPECT_EQ(durations->find(5).mean_ns, 0u);
}

TEST(Durations, ACollisionForgetsAndNeverConfuses) {
  auto durations = known(7, 1000, 10);
  const uint64_t* cost = durations->find(7).cost;
  durations->update(7 + Durations::kEntries, 50, 50);
  EXPECT_EQ(durations->find(7).mean_ns, 0u);
  EXPECT_EQ(*cost, kNoCost) << "nobody goes on spending by the old one";
  EXPECT_EQ(durations->find(7 + Durations::kEntries).mean_ns, 50u);
}

// The one subtraction of a launch against two numbers.
TEST(Durations, ALeaseIsSpentAsTwoNumbersWouldBe) {
  std::mt19937_64 random(11);
  for (int run = 0; run < 1000; ++run) {
    uint64_t ns = random() >> (random() % 60 + 4) & kMostCostNs, launches = random() % 300;
    uint64_t left = cost_word(ns, launches);
    while (true) {
      const uint64_t cost = random() % 8 == 0 ? 0 : random() % (ns + 2);
      const uint64_t after = left - (cost == 0 ? kNoCost : cost_word(cost, 1));
      const bool paid = (after & kCostGuards) == 0;
      ASSERT_EQ(paid, cost != 0 && cost <= ns && launches > 0) << ns << " " << cost << " " << launches;
      if (!paid && launches == 0) break;
      if (!paid) {
        if (cost != 0) break;
        continue;
      }
      left = after;
      ns -= cost;
      --launches;
      ASSERT_EQ(cost_time_ns(left), ns);
      ASSERT_EQ(cost_launches(left), launches);
    }
  }
}

struct Trimmed {
  tw_vgpu_device_usage shared{};
  tw_vgpu_feedback feedback{};
  uint64_t now = kStart;
  uint64_t in_flight_ns = 0;
  int64_t period(uint64_t estimated_ns, uint64_t busy_ns, uint64_t others_permille) {
    now += 166 * kMs;
    shared.estimated_ns += estimated_ns;
    feedback.slice_busy_ns += busy_ns;
    feedback.others_permille = others_permille;
    feedback.stamp_ns = now;
    ++feedback.sequence;
    return take_feedback(shared, feedback, now, in_flight_ns);
  }
};

TEST(Trim, FollowsTheNodeOnlyWithOthersAbout) {
  Trimmed slice;
  for (int i = 0; i < 20; ++i) slice.period(40 * kMs, 80 * kMs, 0);
  EXPECT_EQ(trim_of(slice.shared), kFullTrim) << "alone, the events are right";
  for (int i = 0; i < 150; ++i) slice.period(40 * kMs, 80 * kMs, 500);
  EXPECT_NEAR(static_cast<double>(trim_of(slice.shared)), 2000, 150);
  slice.period(40 * kMs, 80 * kMs, 0);
  EXPECT_GT(trim_of(slice.shared), kFullTrim) << "one period without others does not begin anew";
  for (int i = 0; i < 7; ++i) slice.period(40 * kMs, 40 * kMs, 0);
  EXPECT_EQ(trim_of(slice.shared), kFullTrim);
}

TEST(Trim, NoiseOfThePeriodsEdgesDoesNotAddUp) {
  Trimmed slice;
  std::mt19937_64 random(5);
  int64_t carried = 0;
  for (int i = 0; i < 500; ++i) {
    const int64_t blur = static_cast<int64_t>(random() % (20 * kMs));
    slice.period(50 * kMs, static_cast<uint64_t>(50 * static_cast<int64_t>(kMs) + blur - carried), 700);
    carried = blur;
    if (i > 20) {
      EXPECT_NEAR(static_cast<double>(trim_of(slice.shared)), 1000, 80) << i;
    }
  }
}

// What was charged too much before the trim had settled is given back, but for the blur of a period.
TEST(Trim, WhatWasChargedTooMuchIsGivenBack) {
  Trimmed slice;
  slice.period(50 * kMs, 50 * kMs, 700);
  int64_t charged = 0, busy = 0, back = 0;
  for (int i = 0; i < 30; ++i) {
    slice.shared.charged_ns += 50 * kMs;
    charged += 50 * kMs;
    busy += 40 * kMs;
    back += slice.period(50 * kMs, 40 * kMs, 700);
  }
  EXPECT_NEAR(static_cast<double>(charged - back), static_cast<double>(busy), 25.0 * kMs + 1);
}

// What runs at the moment of a period's end is measured by the node and not charged yet.
TEST(Trim, WorkInFlightIsNotTakenForATooSmallCharge) {
  Trimmed slice;
  slice.in_flight_ns = 100 * kMs;
  slice.period(0, 0, 700);
  slice.shared.charged_ns += 70 * kMs;
  EXPECT_EQ(slice.period(70 * kMs, 120 * kMs, 700), 0);
  slice.shared.charged_ns += 60 * kMs;
  EXPECT_EQ(slice.period(60 * kMs, 10 * kMs, 700), 0);
}

TEST(Trim, StaleOrForgedFeedbackDoesLittle) {
  Trimmed slice;
  for (int i = 0; i < 20; ++i) slice.period(40 * kMs, 80 * kMs, 500);
  take_feedback(slice.shared, slice.feedback, slice.now + kFeedbackMaxAgeNs + 1, 0);
  EXPECT_EQ(trim_of(slice.shared), kFullTrim);
  slice.shared.trim_permille = UINT64_MAX;
  EXPECT_EQ(trim_of(slice.shared), kHighestTrim);
}

}  // namespace
}  // namespace tweendeck::vgpu

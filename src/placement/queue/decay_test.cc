#include "placement/queue/decay.h"

#include <gtest/gtest.h>

#include <cmath>

namespace tweendeck::placement {
namespace {

TEST(Decay, PowersOfOneHalfAreAccurate) {
  constexpr int64_t kHalfLife = 3'600'000;
  for (int64_t elapsed = 0; elapsed < 40 * kHalfLife; elapsed += 977'777) {
    const double exact =
        std::exp2(-static_cast<double>(elapsed) / kHalfLife) * static_cast<double>(kFixedOne);
    EXPECT_NEAR(static_cast<double>(half_power(elapsed, kHalfLife)), exact, exact * 1e-6 + 24) << elapsed;
  }
  EXPECT_EQ(half_power(0, kHalfLife), kFixedOne);
  EXPECT_EQ(half_power(kHalfLife, kHalfLife), kFixedOne / 2);
}

TEST(Decay, AnAverageForgetsByHalvesAndNeverLeavesItsLevels) {
  DecayedAverage average;
  average.advance(0, 0, 1000);
  average.advance(1000, kFixedOne, 1000);  // one half-life of everything
  EXPECT_NEAR(static_cast<double>(average.at(1000, 0, 1000)), static_cast<double>(kFixedOne) / 2, 64);
  EXPECT_NEAR(static_cast<double>(average.at(2000, 0, 1000)), static_cast<double>(kFixedOne) / 4, 64);
  for (int64_t now = 1000; now < 200'000; now += 37) {
    average.advance(now, (now / 1000) % 2 == 0 ? kFixedOne : 0, 1000);
    const int64_t value = average.at(now, 0, 1000);
    EXPECT_GE(value, 0);
    EXPECT_LE(value, kFixedOne);
  }
}

TEST(Decay, TimeThatGoesBackChangesNothing) {
  DecayedAverage average;
  average.advance(5000, kFixedOne, 1000);
  EXPECT_EQ(average.at(4000, 0, 1000), average.at(5000, 0, 1000));
}

}  // namespace
}  // namespace tweendeck::placement

#include "sim/curve.h"

#include <gtest/gtest.h>

namespace tweendeck::sim {
namespace {

TEST(Rounding, HalvesGoUpOrToTheEvenNeighbour) {
  EXPECT_EQ(rounded(5, 10), 1);
  EXPECT_EQ(rounded(4, 10), 0);
  EXPECT_EQ(rounded(25, 10), 3);
  EXPECT_EQ(rounded_to_even(5, 10), 0);
  EXPECT_EQ(rounded_to_even(15, 10), 2);
  EXPECT_EQ(rounded_to_even(25, 10), 2);
  EXPECT_EQ(rounded_to_even(26, 10), 3);
  EXPECT_EQ(rounded_to_even(24, 10), 2);
}

TEST(Curve, ABucketIsTheMeanOfItsRoundedValues) {
  Curve curve;
  curve.add(495, 1000, 1, 3);  // 49.5 % arrived goes to bucket 50; 33.333 % is 33.33
  curve.add(504, 1000, 2, 3);  // 66.67
  curve.add(505, 1000, 1, 1);  // 50.5 % goes to the even bucket 50 too
  ASSERT_TRUE(curve.has(50));
  EXPECT_FALSE(curve.has(49));
  EXPECT_FALSE(curve.has(51));
  EXPECT_EQ(curve.hundredths(50), 6667);  // (3333 + 6667 + 10000) / 3
  EXPECT_FALSE(curve.is_tie(50));
}

TEST(Curve, AMeanOfAHalfIsATie) {
  Curve curve;
  curve.add(0, 1000, 1, 10'000);
  curve.add(0, 1000, 2, 10'000);
  EXPECT_TRUE(curve.is_tie(0));
  EXPECT_EQ(curve.hundredths(0), 2);
}

TEST(Curve, ArrivalsPastTheEndCountIntoTheLastBucket) {
  Curve curve;
  curve.add(1'000'000, 1, 1, 1);
  EXPECT_EQ(curve.size(), kMaxPercent + 1);
  EXPECT_TRUE(curve.has(kMaxPercent));
}

}  // namespace
}  // namespace tweendeck::sim

#include "placement/policy/fragmentation/cutting_stock.h"

#include <gtest/gtest.h>

namespace tweendeck::placement::fragmentation {
namespace {

TEST(CuttingStock, WithoutSlicesOnlyAWholeDeviceIsWorthSomething) {
  const RestPrices prices = price_rests({});
  EXPECT_EQ(prices.rest[99], 0);
  EXPECT_EQ(prices.rest[100], 1000);
}

TEST(CuttingStock, TwoHalvesMakeADeviceAndAThirdTooSmallForThemIsWorthNothing) {
  const std::vector<SizeDemand> demand{{50, 10}};
  const RestPrices prices = price_rests(demand);
  EXPECT_EQ(prices.rest[49], 0);
  EXPECT_EQ(prices.rest[50], 500);
  EXPECT_EQ(prices.rest[99], 500);
  EXPECT_EQ(prices.size[50], 500);
}

TEST(CuttingStock, WhatFillsHolesThatCostNothingIsFree) {
  // Every 0.81 leaves 0.19, and there are far more of them than 0.16: the small ones need no device of their own.
  const std::vector<SizeDemand> demand{{16, 10}, {81, 100}};
  const RestPrices prices = price_rests(demand);
  EXPECT_EQ(prices.size[81], 1000);
  EXPECT_EQ(prices.size[16], 0);
  EXPECT_EQ(prices.rest[19], 0);
}

TEST(CuttingStock, PairsSplitADeviceSoThatNoFillingIsWorthMoreThanOne) {
  const std::vector<SizeDemand> demand{{22, 85}, {23, 187}, {32, 434}, {47, 998},
                                       {55, 92}, {65, 344}, {81, 1452}};
  const RestPrices prices = price_rests(demand);
  for (const SizeDemand& a : demand) {
    for (const SizeDemand& b : demand) {
      if (a.units + b.units > kStockUnits) continue;
      EXPECT_LE(prices.size[a.units] + prices.size[b.units], 1001);
    }
  }
  EXPECT_EQ(prices.size[47], 500);
  EXPECT_EQ(prices.size[65] + prices.size[32], 1000);
  for (uint32_t rest = 1; rest <= kStockUnits; ++rest) EXPECT_GE(prices.rest[rest], prices.rest[rest - 1]);
}

}  // namespace
}  // namespace tweendeck::placement::fragmentation

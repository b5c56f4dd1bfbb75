// The pairwise subset of the accuracy matrix, each cell a test of its own.
#include "bench/vgpu/matrix.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>

namespace tweendeck::bench {
namespace {

class Accuracy : public ::testing::TestWithParam<Cell> {};

TEST_P(Accuracy, SharesHold) {
  const char* build = std::getenv("TWEENDECK_BUILD_DIR");
  ASSERT_NE(build, nullptr);
  const auto result = run_cell(GetParam(), {.root = build});
  ASSERT_TRUE(result) << result.error();
  EXPECT_EQ(result->misses(GetParam()), "") << "bench/vgpu/run --cell \"" << GetParam().text() << "\"";
}

std::string test_name(const ::testing::TestParamInfo<Cell>& info) {
  std::string name = info.param.text();
  std::ranges::replace_if(name, [](char c) { return !std::isalnum(static_cast<unsigned char>(c)); }, '_');
  return name;
}

INSTANTIATE_TEST_SUITE_P(Alone, Accuracy, ::testing::ValuesIn(pairwise_cells(Group::Alone)), test_name);
INSTANTIATE_TEST_SUITE_P(Tenants, Accuracy, ::testing::ValuesIn(pairwise_cells(Group::Tenants)), test_name);
INSTANTIATE_TEST_SUITE_P(Borrowing, Accuracy, ::testing::ValuesIn(pairwise_cells(Group::Borrowing)),
                         test_name);

TEST(Cell, TextAndBack) {
  for (const Group group : kGroups) {
    for (const Cell& cell : pairwise_cells(group)) {
      const auto again = parse_cell(cell.text());
      ASSERT_TRUE(again) << again.error();
      EXPECT_EQ(again->text(), cell.text());
    }
  }
  for (const char* bad :
       {"cap", "cap=0", "cap=30+", "kernel=5", "kernel=5s", "kind=none", "sms=x", "execution=mps"}) {
    EXPECT_FALSE(parse_cell(bad)) << bad;
  }
}

TEST(CellResult, JudgesMeansAndWindows) {
  const Cell cell{.caps = {30}, .kernel_ns = 50 * kMs};  // one unit is 20 points of a window
  EXPECT_EQ((CellResult{.slices = {{30, {49, 11}}}}.misses(cell)), "");
  EXPECT_NE((CellResult{.slices = {{30, {51, 30}}}}.misses(cell)), "");
  EXPECT_NE((CellResult{.slices = {{27.9, {30}}}}.misses(cell)), "");
  const Cell lent{.caps = {10, 90}, .kernel_ns = 50 * kMs, .borrow = true};
  const auto back = [&](double first, double rest) {
    const BorrowResult got{
        .lent_percent = 99, .started_in_time = true, .first_percent = first, .rest_percent = rest};
    return CellResult{.slices = {}, .borrow = got}.misses(lent);
  };
  EXPECT_EQ(back(70.1, 88.1), "");
  EXPECT_NE(back(69.9, 90), "");
  EXPECT_NE(back(90, 87.9), "");
  const Cell two{.caps = {30, 70}};
  EXPECT_EQ((CellResult{.slices = {{31, {60}}, {69, {40}}}}.misses(two)), "");
  EXPECT_NE((CellResult{.slices = {{31, {31}}, {67.5, {67}}}}.misses(two)), "");
}

}  // namespace
}  // namespace tweendeck::bench

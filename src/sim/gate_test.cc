#include "sim/gate.h"

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>

namespace tweendeck::sim {
namespace {

std::string data_folder() {
  const char* data = std::getenv("TWEENDECK_DATA");
  return std::string(data != nullptr ? data : "../shared/data") + "/gpu-cluster";
}

void expect_all_equal(size_t max_seeds, size_t rows) {
  if (!std::filesystem::exists(published_file_of(data_folder())))
    GTEST_SKIP() << "TWEENDECK_DATA has no gpu-cluster/published_rows.csv";
  auto result = run_gate({.folder = data_folder(), .max_seeds = max_seeds, .threads = 2, .progress = {}});
  ASSERT_TRUE(result) << to_string(result.error());
  EXPECT_EQ(result->rows, rows);
  EXPECT_EQ(result->equal, rows);
  for (const GateCell& cell : result->wrong) {
    ADD_FAILURE() << cell.workload << ' ' << cell.policy << " seed " << cell.seed << " @" << cell.percent
                  << ": published " << cell.published_hundredths << ", replayed " << cell.replayed_hundredths;
    if (&cell - result->wrong.data() == 5) break;
  }
}

TEST(Gate, OneSeedOfEachRowIsThePublishedOne) {
  expect_all_equal(1, 25);
}

// All 250 rows; about a minute of one core, so only where tests marked slow run.
TEST(SlowGate, EveryDeterministicRowIsThePublishedOne) {
  expect_all_equal(SIZE_MAX, 250);
}

}  // namespace
}  // namespace tweendeck::sim

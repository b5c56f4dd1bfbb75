// For the tests of the gate: where the traces are, and what each difference is.
#pragma once

#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <string>

#include "sim/gate.h"

namespace tweendeck::sim {

inline std::string data_folder() {
  const char* data = std::getenv("TWEENDECK_DATA");
  return std::string(data != nullptr ? data : "../shared/data") + "/gpu-cluster";
}

inline void expect_published_rows(size_t max_seeds, size_t rows) {
  constexpr size_t kShown = 10;
  constexpr size_t kMostTies = 12;  // 9 of 12,750 cells are known
  if (!std::filesystem::exists(published_file_of(data_folder())))
    GTEST_SKIP() << "TWEENDECK_DATA has no gpu-cluster/published_rows.csv";
  auto result = run_gate({.folder = data_folder(), .max_seeds = max_seeds, .threads = 2, .progress = {}});
  ASSERT_TRUE(result) << to_string(result.error());
  EXPECT_EQ(result->rows, rows);
  EXPECT_EQ(result->equal, rows);
  EXPECT_LE(result->ties.size(), kMostTies);
  for (size_t at = 0; at < std::min(kShown, result->wrong.size()); ++at) {
    const GateCell& cell = result->wrong[at];
    ADD_FAILURE() << cell.workload << ' ' << cell.policy << " seed " << cell.seed << " @" << cell.percent
                  << ": published " << cell.published_hundredths << ", replayed " << cell.replayed_hundredths;
  }
}

}  // namespace tweendeck::sim

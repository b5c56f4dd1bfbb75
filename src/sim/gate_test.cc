#include "sim/gate.h"

#include <gmock/gmock.h>

#include "sim/gate_testing.h"

namespace tweendeck::sim {
namespace {

using ::testing::HasSubstr;

#if __has_feature(address_sanitizer)
constexpr bool kSanitized = true;
#else
constexpr bool kSanitized = false;
#endif

// All 250 are in rows/.
TEST(Gate, OneSeedOfEachRowIsThePublishedOne) {
  if (kSanitized) GTEST_SKIP() << "too slow under a sanitizer";
  expect_published_rows(1, 25);
}

TEST(Gate, AFolderWithoutRowsIsNamed) {
  auto result = run_gate({.folder = "/nonexistent", .progress = {}});
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().reason, Reason::NotFound);
  EXPECT_THAT(result.error().message, HasSubstr("/nonexistent/published_rows.csv"));
}

}  // namespace
}  // namespace tweendeck::sim

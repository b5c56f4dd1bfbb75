#include "sim/gate_testing.h"

namespace tweendeck::sim {
namespace {

TEST(AllRows, EveryDeterministicRowIsThePublishedOne) {
  expect_published_rows(SIZE_MAX, 250);
}

}  // namespace
}  // namespace tweendeck::sim

// A cluster whose one free GPU is in two halves.
#include "sim/defrag.h"

#include <gmock/gmock.h>

namespace tweendeck::sim {
namespace {

using ::testing::HasSubstr;

Workload split_cluster() {
  Workload workload;
  workload.name = "split";
  workload.nodes =
      *parse_nodes("sn,cpu_milli,memory_mib,gpu,model\na,8000,1000,1,X\nb,8000,1000,1,X\n", "nodes");
  workload.pods =
      *parse_pods("name,cpu_milli,memory_mib,num_gpu,gpu_milli\nhalf,5000,1,1,500\nwhole,1000,1,1,1000\n",
                  "pods", workload.nodes);
  // Each half goes to a node of its own, for want of CPU on one; then no whole GPU is left.
  workload.orders = {{7, {0, 1}, {0, 0, 1}}};
  return workload;
}

Result<std::vector<DefragRuns>> moved(const Workload& workload, const std::string& policy,
                                      double most_percent, std::vector<uint32_t> seeds = {}) {
  DefragOptions options;
  options.policies = {policy};
  options.seeds = std::move(seeds);
  options.most_moved_percent = most_percent;
  return run_defrag(workload, options);
}

TEST(Defrag, NothingIsMovedThatDoesNotFitElsewhere) {
  Workload workload = split_cluster();
  Result<std::vector<DefragRuns>> runs = moved(workload, "bestfit", 100);
  ASSERT_TRUE(runs) << to_string(runs.error());
  const DefragRun& run = runs->front().by_seed.front();
  EXPECT_EQ(run.seed, 7u);
  EXPECT_EQ(run.running, 2u);
  EXPECT_EQ(run.refused, 1u);
  EXPECT_TRUE(run.steps.empty());
  EXPECT_EQ(run.allocation(100), 50);
}

TEST(Defrag, OneMoveMakesRoomWhereCpuAllowsIt) {
  Workload workload = split_cluster();
  workload.pods =
      *parse_pods("name,cpu_milli,memory_mib,num_gpu,gpu_milli\nhalf,1000,1,1,500\nwhole,1000,1,1,1000\n",
                  "pods", workload.nodes);
  Result<std::vector<DefragRuns>> runs = moved(workload, "spread", 50);
  ASSERT_TRUE(runs) << to_string(runs.error());
  const DefragRun& run = runs->front().by_seed.front();
  ASSERT_EQ(run.steps.size(), 1u);
  EXPECT_EQ(run.steps[0].moves, 1u);
  EXPECT_EQ(run.steps[0].placed, 1u);
  EXPECT_EQ(run.allocation(49), 50) << "one of two pods is more than 49 %";
  EXPECT_EQ(run.allocation(50), 100);
  EXPECT_EQ(runs->front().moved(50), 50);
}

TEST(Defrag, AnUnknownSeedIsRefused) {
  Result<std::vector<DefragRuns>> runs = moved(split_cluster(), "spread", 5, {8});
  ASSERT_FALSE(runs);
  EXPECT_THAT(runs.error().message, HasSubstr("seed 8"));
}

}  // namespace
}  // namespace tweendeck::sim

// The published formulas on nodes small enough to work them out by hand.
#include <gtest/gtest.h>

#include "sim/replay/fragmentation.h"
#include "sim/replay/policy.h"

namespace tweendeck::sim {
namespace {

NodeState node_of(int32_t cpu, std::initializer_list<int16_t> rests, uint8_t classes = 0) {
  NodeState node;
  node.cpu_milli = cpu;
  for (int16_t rest : rests) node.rest[node.gpus++] = rest;
  node.classes = classes;
  return node;
}
Ask share(int16_t milli, int32_t cpu = 1000) {
  return {cpu, 1, milli, kAnyModel};
}
Ask whole(uint8_t gpus, int32_t cpu = 1000) {
  return {cpu, gpus, 1000, kAnyModel};
}

TEST(Fragmentation, CountsWhatTypicalPodsCannotUse) {
  NodeState node = node_of(8000, {1000, 300, 0});
  auto f = [&](const Ask& ask) { return fragmented_milli(node, {{ask, 1.0}}); };
  EXPECT_EQ(f({1000, 0, 0, kAnyModel}), 1300);  // needs no GPU: all idle GPU counts
  EXPECT_EQ(f(share(500)), 300);                // runs on the first; the second is too small
  EXPECT_EQ(f(share(300)), 0);
  EXPECT_EQ(f(whole(1)), 300);
  EXPECT_EQ(f(whole(2)), 1300);              // one whole GPU is not two
  EXPECT_EQ(f(share(300, 9000)), 1300);      // lacks CPU
  EXPECT_EQ(f({1000, 1, 300, 0b10}), 1300);  // wrong model
  EXPECT_EQ(fragmented_milli(node, {{share(500), 0.75}, {whole(2), 0.25}}), 0.75 * 300 + 0.25 * 1300);
}

TEST(TypicalPods, CommonestFirstUpTo95Percent) {
  PodList list;
  auto add = [&](int count, int32_t cpu, uint8_t gpus, int16_t milli) {
    TracePod pod;
    pod.cpu_milli = cpu;
    pod.gpus = gpus;
    pod.gpu_milli = milli;
    for (int at = 0; at < count; ++at) list.pods.push_back(pod);
  };
  add(1, 9, 1, 1000);
  add(2, 1, 1, 500);
  add(2, 2, 1, 500);
  add(16, 1, 2, 1000);
  std::vector<TypicalPod> typical = typical_pods(list);
  ASSERT_EQ(typical.size(), 3) << "20 of 21 pods are enough";
  EXPECT_EQ(typical[0].ask.gpus, 2);
  EXPECT_EQ(typical[1].ask.cpu_milli, 2) << "equal numbers: the larger first";
  EXPECT_EQ(typical[2].ask.cpu_milli, 1);
  EXPECT_DOUBLE_EQ(typical[0].popularity, 0.8);
}

TEST(BestFit, LeastIsLeft) {
  auto policy = make_best_fit();
  // 100 (1 - ((64000 - 0) / 128000 + (1000 - 500) / 8000) / 2) = 71.875
  EXPECT_EQ(policy->score(node_of(64'000, {300, 700}), share(500, 0)), (Score{71, 1}));
  EXPECT_EQ(policy->score(node_of(64'000, {1000, 1000}), whole(1, 64'000)), (Score{93, -1}));
}

TEST(DotProduct, LittleFreeWins) {
  auto policy = make_dot_product();
  // 100 (1 - (64000 * 32000 / 128000^2 + 2000 * 1000 / 8000^2) / 2) = 92.1875
  EXPECT_EQ(policy->score(node_of(64'000, {1000, 1000}), whole(1, 32'000)), (Score{92, -1}));
}

TEST(Packing, PartlyUsedThenUsedNodesThenUnusedOnes) {
  auto policy = make_packing();
  EXPECT_EQ(policy->score(node_of(9000, {1000, 1000}), share(500)).value, 31);
  EXPECT_EQ(policy->score(node_of(9000, {1000, 1000, 1000, 1000, 1000, 1000, 1000, 1000}), share(500)).value,
            25);
  EXPECT_EQ(policy->score(node_of(9000, {0, 1000}), share(500)).value, 49);
  EXPECT_EQ(policy->score(node_of(9000, {600, 1000}), share(500)), (Score{94, 0}));
  EXPECT_EQ(policy->score(node_of(9000, {0, 1000, 1000}), whole(2)).value, 48);
  EXPECT_EQ(policy->score(node_of(9000, {0}), {1000, 0, 0, kAnyModel}).value, 0);
}

TEST(Clustering, OwnClassFirst) {
  auto policy = make_clustering();
  EXPECT_EQ(policy->score(node_of(9000, {1000, 500}, kShare), share(500)).value, 75 + 25 * 6500 / 8000);
  EXPECT_EQ(policy->score(node_of(9000, {1000, 500}, kShare | kOneGpu), share(500)).value, 50 + 20);
  EXPECT_EQ(policy->score(node_of(9000, {1000, 1000}), share(500)).value, 25 + 18);
  EXPECT_EQ(policy->score(node_of(9000, {1000, 0}, kOneGpu), share(500)).value, 21);
}

TEST(Fgd, ChoosesTheGpuThatLosesLeast) {
  // All pods want 0.5: on the GPU with 0.7 left, 0.2 is lost; on the one with 0.5 nothing; on a whole one nothing.
  auto policy = make_fgd({{share(500), 1.0}});
  NodeState node = node_of(64'000, {700, 500, 1000});
  Score score = policy->score(node, share(500));
  EXPECT_EQ(score, (Score{50, 1}));  // the first GPU with the best score
  // Taking 0.6 of a whole GPU makes 0.4 useless: 100 sigmoid(-0.4) = 40.1.
  EXPECT_EQ(policy->score(node_of(64'000, {1000}), share(600)).value, 40);
}

TEST(Policies, ANearMissIsNamed) {
  auto unknown = make_policy("packking", {});
  ASSERT_FALSE(unknown);
  EXPECT_NE(unknown.error().hint.find("packing"), std::string::npos);
}

}  // namespace
}  // namespace tweendeck::sim

#include <gtest/gtest.h>

#include <map>

#include "placement/defrag/advisor.h"
#include "placement/defrag/elastic.h"
#include "placement/gang/small_testing.h"

namespace tweendeck::placement {
namespace {

using testing::FirstFit;
using testing::machine;
using testing::put;
using testing::shape_of;
using testing::share;
using testing::whole;

class AdvisorTest : public ::testing::Test {
 protected:
  ClaimId run(NodeIndex node, uint16_t mask, const Request& request, RunningClaim claim = {}) {
    claim.id = ++last_;
    claim.shape = shape_of(cluster_, request);
    claim.spot = mask == 0 ? Spot{node, 0, {}} : cluster_.spot(node, mask, claim.shape);
    cluster_.take(claim.spot, claim.shape);
    running_.add(claim);
    return claim.id;
  }
  Advice ask(const Request& request, uint32_t count = 1, uint64_t max_moves = 100) {
    const uint64_t before = cluster_.hash();
    Advice advice =
        advise(cluster_, policy_, running_, {{shape_of(cluster_, request), count}}, {max_moves, 1000});
    EXPECT_EQ(cluster_.hash(), before) << "a dry run";
    return advice;
  }

  Cluster cluster_;
  FirstFit policy_;
  RunningClaims running_;
  ClaimId last_ = 0;
};

TEST_F(AdvisorTest, TwoHalvesMakeAWhole) {
  const NodeIndex a = put(cluster_, machine("a", 2));
  run(a, 1, share(4, 500));
  run(a, 2, share(4, 500));
  const Advice advice = ask(whole(), 2);
  ASSERT_EQ(advice.proposals.size(), 1u);
  EXPECT_EQ(advice.moves, 1u);
  EXPECT_EQ(advice.gain, 1000);
  EXPECT_NE(advice.proposals[0].moves[0].to.devices, advice.proposals[0].moves[0].from.devices);
}

TEST_F(AdvisorTest, CpuOnlyClaimsLeaveANodeWhoseDevicesAreFree) {
  const NodeIndex a = put(cluster_, machine("a", 1)), b = put(cluster_, machine("b", 1));
  Request cpu;
  cpu.cpu_milli = 15'500;
  const ClaimId in_the_way = run(a, 0, cpu);
  run(b, 1, share(8, 1000, 1, 100));
  const Advice advice = ask(share(8, 1000, 1, 2000));
  ASSERT_EQ(advice.proposals.size(), 1u);
  EXPECT_EQ(advice.proposals[0].moves[0].claim, in_the_way);
  EXPECT_EQ(advice.proposals[0].moves[0].to.node, b);
  EXPECT_EQ(advice.proposals[0].spot.node, a);
}

TEST_F(AdvisorTest, MostGainPerMoveFirstAndNotMoreMovesThanAllowed) {
  // One move on node a gains a claim of three devices, one on node b a claim of one.
  NodeFacts other = machine("b", 1);
  other.devices[0].model = "A10";
  const NodeIndex a = put(cluster_, machine("a", 3)), c = put(cluster_, machine("c", 1)),
                  b = put(cluster_, other);
  run(a, 1, share(2, 200));
  run(b, 1, share(2, 200));
  run(c, 1, share(2, 200), {.preemptible = false});
  Request single = whole();
  single.models = {"A10"};
  const std::vector<Wanted> wanted = {{shape_of(cluster_, single), 1}, {shape_of(cluster_, whole(3)), 1}};
  const Advice one = advise(cluster_, policy_, running_, wanted, {1, 1000});
  ASSERT_EQ(one.proposals.size(), 1u);
  EXPECT_EQ(one.gain, 3000);
  const Advice both = advise(cluster_, policy_, running_, wanted, {9, 1000});
  EXPECT_EQ(both.gain, 4000);
  EXPECT_EQ(both.moves, 2u);
}

TEST_F(AdvisorTest, WhoMayNotMoveStays) {
  const NodeIndex a = put(cluster_, machine("a", 2));
  run(a, 1, share(4, 500), {.preemptible = false});
  run(a, 2, share(4, 500), {.started_ms = 500, .min_runtime_ms = 1000});
  EXPECT_TRUE(ask(whole()).proposals.empty());
  for (const uint16_t device : {1, 2}) run(a, device, share(1, 100), {.gang = 3});
  EXPECT_TRUE(ask(share(4, 500)).proposals.empty());
}

TEST_F(AdvisorTest, APartitionThatStandsWhereALargerOneCouldIsMoved) {
  NodeFacts node = machine("a", 2);
  for (DeviceFacts& device : node.devices) device.partitions = testing::profiles();
  const NodeIndex a = put(cluster_, node);
  Request small = share(0, 0), large = share(0, 0);
  small.partition = "1g";
  large.partition = "4g";
  const ShapeId one = shape_of(cluster_, small);
  for (const uint16_t device : {1, 2}) {
    RunningClaim claim;
    claim.id = ++last_;
    claim.shape = one;
    claim.spot = cluster_.spot(a, device, one);
    cluster_.take(claim.spot, one);
    running_.add(claim);
  }
  const Advice advice = ask(large);
  ASSERT_EQ(advice.proposals.size(), 1u);
  EXPECT_EQ(advice.moves, 1u);
  EXPECT_NE(advice.proposals[0].moves[0].to.devices, advice.proposals[0].spot.devices);
}

// Random clusters: what is advised can be carried out in order, and every prefix of it.
TEST(AdvisorProperty, EveryProposalCanBeCarriedOut) {
  constexpr uint64_t kCases = 1'500;
  uint64_t proposals = 0;
  for (uint64_t seed = 0; seed < kCases; ++seed) {
    Random random(seed);
    Cluster cluster;
    FirstFit policy;
    for (uint64_t n = 0; n < 2 + random.below(3); ++n)
      put(cluster, testing::random_machine(random, "n" + std::to_string(n)));
    RunningClaims running;
    std::map<ClaimId, std::pair<Spot, ShapeId>> book;
    std::vector<Wanted> wanted;
    for (ClaimId id = 1; id < 24; ++id) {
      const ShapeId shape = shape_of(cluster, testing::random_request(random));
      const std::optional<Choice> choice = policy.choose(cluster, shape, {});
      if (!choice) {
        wanted.push_back({shape, 1});
        continue;
      }
      cluster.take(choice->spot, shape);
      RunningClaim claim;
      claim.id = id;
      claim.spot = choice->spot;
      claim.shape = shape;
      claim.preemptible = random.below(5) != 0;
      running.add(claim);
      book[id] = {claim.spot, shape};
    }
    const uint64_t before = cluster.hash();
    const uint64_t max_moves = random.below(6);
    const Advice advice = advise(cluster, policy, running, wanted, {max_moves, 0});
    ASSERT_EQ(cluster.hash(), before) << seed;
    ASSERT_LE(advice.moves, max_moves) << seed;
    uint64_t moves = 0;
    for (const Proposal& proposal : advice.proposals) {
      ++proposals;
      for (const Move& move : proposal.moves) {
        ASSERT_EQ(book[move.claim].first, move.from) << seed;
        ASSERT_TRUE(running.at(running.find(move.claim)).preemptible) << seed;
        cluster.give(move.from, move.shape);
      }
      cluster.take(proposal.spot, proposal.wanted);
      for (const Move& move : proposal.moves) {
        cluster.take(move.to, move.shape);
        book[move.claim].first = move.to;
        ++moves;
      }
    }
    ASSERT_EQ(moves, advice.moves);
  }
  EXPECT_GT(proposals, kCases / 10);
}

TEST(Elastic, GrowsWhereThereIsRoomAndShrinksAlways) {
  Cluster cluster;
  const NodeIndex a = put(cluster, machine("a", 1));
  const ShapeId small = shape_of(cluster, share(2, 200)), large = shape_of(cluster, share(6, 600)),
                pair = shape_of(cluster, share(1, 100, 2));
  Spot spot = cluster.spot(a, 1, small);
  cluster.take(spot, small);
  EXPECT_FALSE(resize_in_place(cluster, spot, small, pair));
  ASSERT_TRUE(resize_in_place(cluster, spot, small, large));
  const Spot other = cluster.spot(a, 1, small);
  cluster.take(other, small);
  const uint64_t before = cluster.hash();
  EXPECT_FALSE(resize_in_place(cluster, other, small, large));
  EXPECT_EQ(cluster.hash(), before);
  ASSERT_TRUE(resize_in_place(cluster, spot, large, small));
  const ShapeId middle = shape_of(cluster, share(5, 500));
  const std::vector<ShapeId> sizes = {shape_of(cluster, share(8, 800)), middle, small};
  const std::optional<Resized> grown = grow_in_place(cluster, other, small, sizes);
  ASSERT_TRUE(grown);
  EXPECT_EQ(grown->shape, middle);
}

}  // namespace
}  // namespace tweendeck::placement

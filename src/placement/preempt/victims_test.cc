#include "placement/preempt/victims.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "placement/gang/small_testing.h"
#include "placement/preempt/handover.h"

namespace tweendeck::placement {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using testing::machine;
using testing::put;
using testing::shape_of;
using testing::share;
using testing::whole;

Amounts devices(int64_t count) {
  Amounts a{};
  a[kDevices] = count;
  return a;
}

class VictimsTest : public ::testing::Test {
 protected:
  ClaimId run(NodeIndex node, uint16_t mask, const Request& request, RunningClaim claim = {}) {
    claim.id = ++last_;
    claim.shape = shape_of(cluster_, request);
    claim.spot = cluster_.spot(node, mask, claim.shape);
    claim.charged = devices(request.devices);
    cluster_.take(claim.spot, claim.shape);
    if (claim.queue != kRootQueue) queues_.charge(claim.queue, claim.charged, 0);
    running_.add(claim);
    return claim.id;
  }
  Victims find(const Request& request, int32_t priority, uint32_t members = 1, QueueId queue = kRootQueue,
               Level required = Level::Cluster) {
    Preemptor preemptor;
    preemptor.shape = shape_of(cluster_, request);
    preemptor.members = members;
    preemptor.queue = queue;
    preemptor.priority = priority;
    preemptor.ask = devices(request.devices * members);
    preemptor.required = required;
    const uint64_t before = cluster_.hash();
    Victims victims =
        find_victims(cluster_, placer_, running_, queue == kRootQueue ? nullptr : &queues_, preemptor, now_);
    EXPECT_EQ(cluster_.hash(), before);
    return victims;
  }

  Cluster cluster_;
  GangPlacer placer_;
  RunningClaims running_;
  Queues queues_;
  ClaimId last_ = 0;
  int64_t now_ = 1'000'000;
};

TEST_F(VictimsTest, TheLowestPriorityGoesAndNobodyElse) {
  const NodeIndex a = put(cluster_, machine("a", 2)), b = put(cluster_, machine("b", 2));
  run(a, 1, whole(), {.priority = 1});
  run(a, 2, whole(), {.priority = 5});
  const ClaimId low = run(b, 1, whole(), {.priority = 0});
  run(b, 2, whole(), {.priority = 2});
  const Victims victims = find(whole(), 3);
  EXPECT_EQ(victims.outcome, Outcome::Placed);
  EXPECT_THAT(victims.claims, ElementsAre(low));
  ASSERT_EQ(victims.spots.size(), 1u);
  EXPECT_EQ(victims.spots[0].node, b);
}

TEST_F(VictimsTest, NobodyIsStoppedWhereThereIsRoomOrWhereItWouldNotHelp) {
  const NodeIndex a = put(cluster_, machine("a", 2));
  run(a, 1, whole(), {.priority = 0});
  EXPECT_THAT(find(whole(), 3).claims, IsEmpty());
  const Victims too_large = find(whole(3), 3);
  EXPECT_EQ(too_large.outcome, Outcome::Infeasible);
  EXPECT_EQ(too_large.reason, Reason::NoVictims);
  EXPECT_EQ(find(whole(2), 0).outcome, Outcome::Infeasible) << "equal priority is no reason";
}

TEST_F(VictimsTest, SmallOnesThatAreNotInTheWayKeepRunning) {
  const NodeIndex a = put(cluster_, machine("a", 2));
  run(a, 1, share(1, 100), {.priority = 0});
  const ClaimId large = run(a, 2, share(6, 600), {.priority = 1});
  EXPECT_THAT(find(share(8, 500), 3).claims, ElementsAre(1u)) << "the smaller loss";
  run(a, 1, share(7, 900), {.priority = 2, .preemptible = false});
  EXPECT_THAT(find(share(8, 500), 3).claims, ElementsAre(large));
}

TEST_F(VictimsTest, TheYoungestGoesAndNobodyBeforeItsMinimumRuntime) {
  const NodeIndex a = put(cluster_, machine("a", 3));
  run(a, 1, whole(), {.started_ms = 0});
  const ClaimId young = run(a, 2, whole(), {.started_ms = 900'000});
  run(a, 4, whole(), {.started_ms = 990'000, .min_runtime_ms = 60'000});
  EXPECT_THAT(find(whole(), 1).claims, ElementsAre(young));
  EXPECT_THAT(find(whole(), 1, 3).claims, IsEmpty());
  now_ += 60'000;
  EXPECT_EQ(find(whole(), 1, 3).claims.size(), 3u);
}

TEST_F(VictimsTest, ABudgetIsKept) {
  const NodeIndex a = put(cluster_, machine("a", 2)), b = put(cluster_, machine("b", 2));
  for (const NodeIndex n : {a, b}) {
    for (const uint16_t d : {1, 2}) run(n, d, whole(), {.budget = 7});
  }
  running_.set_budget(7, 3);
  EXPECT_EQ(find(whole(), 1).claims.size(), 1u);
  EXPECT_NE(find(whole(), 1, 2).outcome, Outcome::Placed);
  running_.set_budget(7, 0);
  EXPECT_EQ(find(whole(), 1, 4).claims.size(), 4u);
}

TEST_F(VictimsTest, AGangGoesTogetherButItsMembersAboveTheMinimumOneByOne) {
  const NodeIndex a = put(cluster_, machine("a", 2)), b = put(cluster_, machine("b", 2));
  run(a, 1, whole(), {.gang = 9});
  run(a, 2, whole(), {.gang = 9});
  run(b, 1, whole(), {.gang = 9});
  const ClaimId alone = run(b, 2, whole(), {.priority = 1});
  running_.set_gang_minimum(9, {2});
  EXPECT_EQ(find(whole(), 2).claims.size(), 1u);
  running_.set_gang_minimum(9, {3});
  EXPECT_THAT(find(whole(), 2).claims, ElementsAre(1u, 2u, 3u)) << "lower priority before fewer";
  running_.remove(1);
  RunningClaim fixed = running_.at(running_.find(2));
  fixed.preemptible = false;
  running_.add(fixed);
  EXPECT_THAT(find(whole(), 2).claims, ElementsAre(alone)) << "one of them may not be stopped, so none is";
}

TEST_F(VictimsTest, ReclaimTakesOnlyWhatIsAboveTheFairShareAndIsNotReclaimedBack) {
  const NodeIndex a = put(cluster_, machine("a", 8));
  queues_.set_capacity(devices(8), 0);
  const QueueId mine = *queues_.put({"mine", "", 1, {{"devices", 4, kUnlimited}}});
  const QueueId other = *queues_.put({"other", "", 1, {{"devices", 4, kUnlimited}}});
  for (int d = 0; d < 8; ++d)
    run(a, static_cast<uint16_t>(1 << d), whole(), {.queue = other, .priority = 100});
  queues_.add_pending(mine, devices(8));
  EXPECT_EQ(find(whole(), 0, 4, mine).claims.size(), 4u) << "priority is not looked at across queues";
  EXPECT_NE(find(whole(), 0, 5, mine).outcome, Outcome::Placed);
  // After it, the other queue has its share and cannot take anything back.
  for (ClaimId id = 1; id <= 4; ++id) {
    const RunningClaim gone = running_.at(running_.find(id));
    cluster_.give(gone.spot, gone.shape);
    queues_.refund(other, gone.charged, 0);
    running_.remove(id);
    run(a, gone.spot.devices, whole(), {.queue = mine});
  }
  queues_.drop_pending(mine, devices(4));
  queues_.add_pending(other, devices(4));
  EXPECT_NE(find(whole(), 0, 1, other).outcome, Outcome::Placed);
}

TEST_F(VictimsTest, AllOfAGangInOneRack) {
  for (int r = 0; r < 2; ++r) {
    for (int n = 0; n < 2; ++n) {
      const NodeIndex node = put(
          cluster_, machine("r" + std::to_string(r) + "n" + std::to_string(n), 2, "r" + std::to_string(r)));
      for (const uint16_t d : {1, 2}) run(node, d, whole(), {.priority = r == 0 && n == 0 ? 0 : 1});
    }
  }
  const Victims victims = find(whole(2), 2, 2, kRootQueue, Level::Rack);
  ASSERT_EQ(victims.outcome, Outcome::Placed);
  EXPECT_EQ(victims.claims.size(), 4u);
  EXPECT_EQ(cluster_.nodes()[victims.spots[0].node].rack, cluster_.nodes()[victims.spots[1].node].rack);
  EXPECT_EQ(find(whole(2), 2, 3, kRootQueue, Level::Rack).outcome, Outcome::Infeasible);
}

// Random small clusters: whoever is dropped from the victims, the claims do not fit; and where it says that nothing
// helps, stopping everybody does not.
TEST(VictimsProperty, NobodyIsStoppedInVain) {
  constexpr uint64_t kCases = 4'000;
  uint64_t found = 0, proved = 0;
  for (uint64_t seed = 0; seed < kCases; ++seed) {
    Random random(seed);
    Cluster cluster;
    for (uint64_t n = 0; n < 1 + random.below(4); ++n)
      put(cluster, testing::random_machine(random, "n" + std::to_string(n)));
    RunningClaims running;
    testing::FirstFit policy;
    for (ClaimId id = 1; id < 14; ++id) {
      const ShapeId shape = shape_of(cluster, testing::random_request(random));
      const std::optional<Choice> choice = policy.choose(cluster, shape, {});
      if (!choice) continue;
      cluster.take(choice->spot, shape);
      RunningClaim claim;
      claim.id = id;
      claim.spot = choice->spot;
      claim.shape = shape;
      claim.priority = static_cast<int32_t>(random.below(3));
      claim.gang = random.below(4) == 0 ? 1 + random.below(2) : kNoGang;
      claim.budget = random.below(4) == 0 ? 1 : kNoBudget;
      claim.started_ms = static_cast<int64_t>(random.below(1000));
      claim.preemptible = random.below(8) != 0;
      running.add(claim);
    }
    for (const GangId gang : {1, 2}) running.set_gang_minimum(gang, {static_cast<uint32_t>(random.below(4))});
    running.set_budget(1, static_cast<uint32_t>(random.below(3)));
    Preemptor preemptor;
    preemptor.shape = shape_of(cluster, testing::random_request(random));
    preemptor.members = static_cast<uint32_t>(1 + random.below(3));
    preemptor.priority = 2;
    GangPlacer placer;
    const uint64_t before = cluster.hash();
    const Victims victims = find_victims(cluster, placer, running, nullptr, preemptor, 2000);
    ASSERT_EQ(cluster.hash(), before) << seed;
    const auto fits_with = [&](const std::vector<ClaimId>& stopped) {
      const Cluster::Mark mark = cluster.mark();
      for (const ClaimId id : stopped)
        cluster.give(running.at(running.find(id)).spot, running.at(running.find(id)).shape);
      uint64_t slots = 0;
      for (NodeIndex n = 0; n < cluster.nodes().size(); ++n) slots += cluster.slots(n, preemptor.shape, 100);
      cluster.undo_to(mark);
      return slots >= preemptor.members;
    };
    if (victims.outcome == Outcome::Infeasible) {
      ++proved;
      std::vector<ClaimId> all;
      for (ClaimId id = 1; id < 14; ++id) {
        if (running.find(id) != RunningClaims::kNone && running.at(running.find(id)).preemptible &&
            running.at(running.find(id)).priority < 2)
          all.push_back(id);
      }
      ASSERT_FALSE(fits_with(all)) << seed;
      continue;
    }
    if (victims.outcome != Outcome::Placed) continue;
    found += victims.claims.empty() ? 0 : 1;
    ASSERT_TRUE(fits_with(victims.claims)) << seed;
    uint32_t of_budget = 0;
    std::map<GangId, size_t> of_gang;
    for (const ClaimId id : victims.claims) {
      const RunningClaim& claim = running.at(running.find(id));
      ASSERT_TRUE(claim.preemptible && claim.priority < 2) << seed;
      of_budget += claim.budget == 1 ? 1 : 0;
      if (claim.gang != kNoGang) ++of_gang[claim.gang];
    }
    ASSERT_LE(of_budget, running.disruptions_allowed(1)) << seed;
    const auto whole_or_enough = [&](GangId gang, size_t stopped) {
      const size_t left = running.of_gang(gang).size() - stopped;
      return left == 0 || left >= (running.gang_minimum(gang).empty() ? 0 : running.gang_minimum(gang)[0]);
    };
    for (const auto& entry : of_gang) ASSERT_TRUE(whole_or_enough(entry.first, entry.second)) << seed;
    // Every subset that would be allowed and is smaller does not do; up to ten victims all are tried.
    const size_t count = std::min<size_t>(victims.claims.size(), 10);
    for (uint32_t kept = 1; kept < (1u << count); ++kept) {
      std::vector<ClaimId> fewer;
      std::map<GangId, size_t> stopped;
      for (size_t v = 0; v < victims.claims.size(); ++v) {
        if (v < count && (kept >> v & 1) != 0) continue;
        fewer.push_back(victims.claims[v]);
        const GangId gang = running.at(running.find(victims.claims[v])).gang;
        if (gang != kNoGang) ++stopped[gang];
      }
      bool allowed = true;
      for (const auto& entry : of_gang) allowed &= whole_or_enough(entry.first, stopped[entry.first]);
      if (allowed) {
        ASSERT_FALSE(fits_with(fewer)) << "seed " << seed << ": fewer would do";
      }
    }
    // What was promised can be taken.
    const Cluster::Mark mark = cluster.mark();
    for (const ClaimId id : victims.claims)
      cluster.give(running.at(running.find(id)).spot, running.at(running.find(id)).shape);
    ASSERT_EQ(victims.spots.size(), preemptor.members) << seed;
    for (const Spot& spot : victims.spots) cluster.take(spot, preemptor.shape);
    cluster.undo_to(mark);
  }
  EXPECT_GT(found, kCases / 10);
  EXPECT_GT(proved, kCases / 20);
}

TEST_F(VictimsTest, FreedRoomIsHeldForThePreemptorUntilAllIsThere) {
  const NodeIndex a = put(cluster_, machine("a", 2));
  const ClaimId first = run(a, 1, whole()), second = run(a, 2, whole());
  const ShapeId both = shape_of(cluster_, whole(2)), one = shape_of(cluster_, whole());
  const Victims victims = find(whole(2), 1);
  Handovers handovers;
  const std::vector<RunningClaim> leaving = {running_.at(running_.find(first)),
                                             running_.at(running_.find(second))};
  ASSERT_TRUE(handovers.start(50, {{50, both, victims.spots[0]}}, leaving, now_));
  EXPECT_FALSE(handovers.start(51, {}, leaving, now_)) << "they have gone to somebody already";
  EXPECT_EQ(handovers.victim_gone(cluster_, second).step, Handovers::Step::Waiting);
  EXPECT_FALSE(cluster_.fits(a, one)) << "nobody slips in";
  const Handovers::Result result = handovers.victim_gone(cluster_, first);
  EXPECT_EQ(result.step, Handovers::Step::Taken);
  EXPECT_EQ(result.promises[0].claim, 50u);
  EXPECT_FALSE(cluster_.fits(a, one));
  cluster_.give(victims.spots[0], both);
  EXPECT_EQ(cluster_.slots(a, one, 9), 2u) << "nothing leaked";
}

TEST_F(VictimsTest, AHandoverThatIsGivenUpOrBrokenReturnsEverything) {
  const NodeIndex a = put(cluster_, machine("a", 2));
  const ClaimId first = run(a, 1, whole()), second = run(a, 2, whole());
  const ShapeId both = shape_of(cluster_, whole(2)), one = shape_of(cluster_, whole());
  const std::vector<RunningClaim> leaving = {running_.at(running_.find(first)),
                                             running_.at(running_.find(second))};
  const Promise promise{50, both, find(whole(2), 1).spots[0]};
  Handovers handovers;
  ASSERT_TRUE(handovers.start(50, {promise}, leaving, now_));
  handovers.victim_gone(cluster_, first);
  EXPECT_THAT(handovers.overdue(now_ + kHandoverTimeoutMs - 1), IsEmpty());
  EXPECT_THAT(handovers.overdue(now_ + kHandoverTimeoutMs), ElementsAre(50u));
  EXPECT_TRUE(handovers.cancel(cluster_, 50));
  EXPECT_FALSE(handovers.cancel(cluster_, 50));
  EXPECT_FALSE(handovers.is_victim(second));
  EXPECT_EQ(cluster_.slots(a, one, 9), 1u);
  // Again, but a device fails before the last victim is gone.
  cluster_.take(leaving[0].spot, leaving[0].shape);
  ASSERT_TRUE(handovers.start(50, {promise}, leaving, now_));
  handovers.victim_gone(cluster_, first);
  ASSERT_TRUE(cluster_.set_device_health("a/0", false));
  EXPECT_EQ(handovers.victim_gone(cluster_, second).step, Handovers::Step::Broken);
  EXPECT_EQ(cluster_.slots(a, one, 9), 1u) << "the device that works is free";
  EXPECT_EQ(handovers.size(), 0u);
}

}  // namespace
}  // namespace tweendeck::placement

// Namespaces, budgets, minimum run times and weights on nodes, as the engine sees them.
#include "placement/engine_testing.h"

namespace tweendeck::placement {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

class EngineQuotaTest : public testing::EngineFixture {
 protected:
  EngineQuotaTest() : EngineFixture({.bind_timeout_ms = 100, .bind_backoff_ms = 10}) {}
};

TEST_F(EngineQuotaTest, ANamespacesQuotaBarsAndLetsGo) {
  node("a", 4);
  send(NamespacePut{3, "team", {{"limits.nvidia.com/gpu", "2"}, {"limits.nvidia.com/gpucores", "150"}}});
  run({.claim = 1, .shape = 1, .space = 3});
  const ClaimDecision waits = one(ClaimSubmitted{.claim = 2, .shape = 1, .space = 3});
  EXPECT_EQ(waits.verdict, Verdict::Waiting);
  EXPECT_EQ(waits.reason, Reason::NamespaceQuotaReached) << "150 percent of compute, not two devices";
  EXPECT_EQ(one(ClaimSubmitted{.claim = 3, .shape = 10, .space = 3}).verdict, Verdict::Placed);
  EXPECT_EQ(one(ClaimSubmitted{.claim = 4, .shape = 2, .space = 3}).reason, Reason::ExceedsNamespaceQuota);
  EXPECT_EQ(one(ClaimSubmitted{.claim = 5, .shape = 1}).verdict, Verdict::Placed) << "of no namespace";
  EXPECT_THAT(with(send(ClaimWithdrawn{1, 1}), Verdict::Placed), ElementsAre(2u));
  EXPECT_EQ(with(send(NamespacePut{3, "team", {}}), Verdict::Placed).size(), 0u)
      << "there is one device left";
  EXPECT_EQ(reason(4), Reason::NoRoom);
}

TEST_F(EngineQuotaTest, WhatABindThatFailedHeldIsGivenBack) {
  node("a", 4);
  send(NamespacePut{0, "team", {{"limits.nvidia.com/gpu", "1"}}});
  send(QueuePut{0, {"queue", "", 1, {{"devices", 0, 1}}}});
  const ClaimDecision placed = one(ClaimSubmitted{.claim = 1, .shape = 1, .queue = 0, .space = 0});
  EXPECT_EQ(one(ClaimSubmitted{.claim = 2, .shape = 1, .queue = 0, .space = 0}).verdict, Verdict::Waiting);
  const std::vector<ClaimDecision> out = send(BindFailed{1, placed.reservation, 1});
  EXPECT_THAT(with(out, Verdict::Placed), ElementsAre(2u));
  EXPECT_EQ(engine_.namespaces().used(0)[kDevices], 1);
  EXPECT_EQ(engine_.queues().used(engine_.queues().find("queue"))[kDevices], 1);
}

TEST_F(EngineQuotaTest, QueueAndNamespaceMustBothAllowIt) {
  node("a", 4);
  send(NamespacePut{0, "team", {{"limits.nvidia.com/gpu", "3"}}});
  send(QueuePut{0, {"queue", "", 1, {{"devices", 0, 2}}}});
  run({.claim = 1, .shape = 2, .queue = 0, .space = 0});
  EXPECT_EQ(one(ClaimSubmitted{.claim = 2, .shape = 1, .queue = 0, .space = 0}).reason, Reason::QueueAtLimit);
  run({.claim = 3, .shape = 1, .space = 0});
  EXPECT_EQ(engine_.namespaces().used(0)[kDevices], 3);
  EXPECT_EQ(one(ClaimSubmitted{.claim = 4, .shape = 1, .space = 0}).reason, Reason::NamespaceQuotaReached);
  EXPECT_EQ(one(ClaimSubmitted{.claim = 5, .shape = 3, .queue = 0, .space = 0}).reason,
            Reason::ExceedsQueueLimit)
      << "what no end of others would change is said first";
}

TEST_F(EngineQuotaTest, AResizeAsksTheNamespaceToo) {
  node("a", 2);
  send(NamespacePut{0, "team", {{"limits.nvidia.com/gpucores", "50"}}});
  run({.claim = 1, .shape = 10, .space = 0});
  EXPECT_EQ(one(Resize{1, 1, 1}).reason, Reason::ExceedsNamespaceQuota);
  EXPECT_EQ(engine_.namespaces().used(0)[kCompute], 500);
  send(NamespacePut{0, "team", {{"limits.nvidia.com/gpucores", "100"}}});
  EXPECT_EQ(one(Resize{1, 1, 2}).verdict, Verdict::Resized);
  EXPECT_EQ(engine_.namespaces().used(0)[kCompute], 1000);
}

TEST_F(EngineQuotaTest, MistakesAreRefused) {
  node("a", 1);
  std::vector<ClaimDecision> out;
  const auto error = [&](const Event& event) { return engine_.apply(event, out).error().reason; };
  send(NamespacePut{0, "team", {}});
  EXPECT_EQ(error(NamespacePut{0, "other", {}}), Reason::AlreadyExists);
  EXPECT_EQ(error(NamespacePut{kMaxNumber, "x", {}}), Reason::LimitExceeded);
  EXPECT_EQ(error(NamespacePut{1, "x", {{"limits.nvidia.com/gpu", "many"}}}), Reason::InvalidArgument);
  EXPECT_EQ(error(BudgetPut{0, 1}), Reason::InvalidArgument);
  EXPECT_EQ(error(WeightsOnNode{"nowhere", 1, 10}), Reason::NotFound);
  EXPECT_EQ(error(WeightsOnNode{"a", 1, 1001}), Reason::InvalidArgument);
  EXPECT_EQ(one(ClaimSubmitted{.claim = 1, .shape = 1, .space = 9}).reason, Reason::NotFound);
  EXPECT_EQ(one(ClaimSubmitted{.claim = 1, .shape = 1, .min_runtime_ms = -1}).reason,
            Reason::InvalidArgument);
  EXPECT_EQ(one(ClaimSubmitted{.claim = 1, .shape = 1, .time_ms = INT64_MAX}).verdict, Verdict::Placed);
  EXPECT_EQ(engine_.now_ms(), kMaxTimeMs);
}

TEST_F(EngineQuotaTest, NodesThatHaveTheWeightsArePreferred) {
  node("a", 2);
  node("b", 2);
  send(WeightsOnNode{"b", 7, 1000});
  EXPECT_EQ(one(ClaimSubmitted{.claim = 1, .shape = 10}).spot.node, 0u);
  EXPECT_EQ(one(ClaimSubmitted{.claim = 2, .shape = 10, .weights = 7}).spot.node, 1u);
  EXPECT_EQ(one(ClaimSubmitted{.claim = 3, .shape = 10, .weights = 8}).spot.node, 0u) << "other weights";
  send(ClaimWithdrawn{2, 1});
  send(WeightsOnNode{"b", 7, 0});
  EXPECT_EQ(one(ClaimSubmitted{.claim = 4, .shape = 10, .weights = 7}).spot.node, 0u) << "gone from there";
  send(WeightsOnNode{"b", 7, 1000});
  send(NodeGone{"b"});
  node("c", 2);
  ASSERT_EQ(engine_.cluster().find_node("c"), 1u);
  EXPECT_EQ(one(ClaimSubmitted{.claim = 5, .shape = 10, .weights = 7}).spot.node, 0u)
      << "what was on the node that had this number before is gone with it";
}

class EngineBudgetTest : public testing::EngineFixture {
 protected:
  EngineBudgetTest() : EngineFixture({.bind_timeout_ms = 100, .bind_backoff_ms = 10, .preempt = true}) {}
  std::vector<ClaimId> stopped_for(ClaimId claim, int64_t time_ms = 0) {
    return with(send(ClaimSubmitted{.claim = claim, .shape = 1, .priority = 5, .time_ms = time_ms}),
                Verdict::Stop);
  }
};

TEST_F(EngineBudgetTest, AtLeastSoManyKeepRunningAlsoWhileOthersAreBeingStopped) {
  node("a", 3);
  send(BudgetPut{7, 2});
  for (const ClaimId id : {1, 2, 3}) run({.claim = id, .shape = 1, .budget = 7});
  const std::vector<ClaimId> first = stopped_for(10);
  ASSERT_EQ(first.size(), 1u);
  EXPECT_THAT(stopped_for(11), IsEmpty()) << "the first has not gone, but will";
  EXPECT_EQ(reason(11), Reason::NoRoom);
  send(ClaimWithdrawn{first[0], 1});
  EXPECT_EQ(state(10), ClaimState::Reserved);
  EXPECT_EQ(state(11), ClaimState::Pending);
  send(BudgetPut{7, 1});
  EXPECT_EQ(with(send(Timer{2}), Verdict::Stop).size(), 1u) << "who found nobody asks again";
}

TEST_F(EngineBudgetTest, AtMostSoManyAreWithoutAPlace) {
  node("a", 2);
  send(BudgetPut{.budget = 7, .max_unavailable = 1});
  for (const ClaimId id : {1, 2}) run({.claim = id, .shape = 1, .budget = 7});
  run({.claim = 3, .shape = 2, .budget = 7});
  EXPECT_EQ(state(3), ClaimState::Pending);
  EXPECT_THAT(stopped_for(10), IsEmpty()) << "the one that waits is one already";
  send(ClaimWithdrawn{3, 1});
  EXPECT_EQ(with(send(Timer{2}), Verdict::Stop).size(), 1u);
}

TEST_F(EngineBudgetTest, NobodyIsStoppedBeforeItsMinimumRunTime) {
  node("a", 1);
  send(ClaimSubmitted{.claim = 1, .shape = 1, .time_ms = 0, .min_runtime_ms = 50});
  send(BindConfirmed{1, engine_.claims()[engine_.claims().find(1)].reservation, 20});
  EXPECT_THAT(stopped_for(10, 30), IsEmpty());
  EXPECT_THAT(send(Timer{69}), IsEmpty()) << "the bind is what counts";
  EXPECT_THAT(with(send(Timer{70}), Verdict::Stop), ElementsAre(1u));
}

TEST_F(EngineBudgetTest, WhoMustGoOnGoesOn) {
  node("a", 1);
  run({.claim = 1, .shape = 1, .preemptible = false});
  EXPECT_THAT(stopped_for(10), IsEmpty());
  EXPECT_THAT(send(Timer{1'000'000}), IsEmpty());
}

}  // namespace
}  // namespace tweendeck::placement

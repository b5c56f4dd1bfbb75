#include "placement/engine_testing.h"

namespace tweendeck::placement {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAre;

class EngineGangTest : public testing::EngineFixture {
 protected:
  EngineGangTest() : EngineFixture({.bind_timeout_ms = 100, .bind_backoff_ms = 10}) {}

  static GroupPut gang(GroupId id, std::vector<GroupRole> roles) {
    GroupPut put;
    put.group = id;
    put.roles = std::move(roles);
    return put;
  }
};

TEST_F(EngineGangTest, NobodyStartsBeforeAllAreThereAndFit) {
  node("a", 2);
  send(gang(1, {{1, 3, 3}}));
  EXPECT_EQ(one(ClaimSubmitted{.claim = 1, .shape = 1, .group = 1}).reason, Reason::GangIncomplete);
  one(ClaimSubmitted{.claim = 2, .shape = 1, .group = 1});
  EXPECT_EQ(one(ClaimSubmitted{.claim = 3, .shape = 1, .group = 1}).reason, Reason::GangTooLarge);
  EXPECT_EQ(engine_.cluster().nodes()[0].claims_held, 0u) << "a part of it takes nothing";
  EXPECT_THAT(with(node("b", 1), Verdict::Placed), UnorderedElementsAre(1u, 2u, 3u));
}

TEST_F(EngineGangTest, TheMinimumIsExact) {
  node("a", 3);
  send(gang(1, {{1, 3, 5}}));
  for (const ClaimId id : {1, 2, 3, 4}) send(ClaimSubmitted{.claim = id, .shape = 1, .group = 1});
  EXPECT_EQ(engine_.reserved(), 3u) << "three are enough";
  EXPECT_EQ(reason(4), Reason::GangTooLarge);
  send(gang(2, {{1, 1, 1}}));
  EXPECT_EQ(one(ClaimSubmitted{.claim = 5, .shape = 1, .group = 1}).verdict, Verdict::Infeasible);
  EXPECT_EQ(one(ClaimSubmitted{.claim = 6, .shape = 1, .group = 1}).reason, Reason::LimitExceeded);
}

TEST_F(EngineGangTest, ItGrowsWhereItIs) {
  node("a", 2, "r1");
  node("b", 2, "r2");
  GroupPut put = gang(1, {{1, 2, 4}});
  put.required = Level::Rack;
  send(put);
  for (const ClaimId id : {1, 2, 3}) member(id, 1, 0, 1);
  EXPECT_EQ(reason(3), Reason::GangTooLarge) << "the other rack is not theirs";
  node("c", 1, "r1");
  EXPECT_EQ(state(3), ClaimState::Reserved);
  EXPECT_EQ(engine_.status(3)->spot.node, engine_.cluster().find_node("c"));
}

TEST_F(EngineGangTest, OneThatFallsBelowItsMinimumGivesEverythingBack) {
  node("a", 2);
  node("b", 1);
  send(gang(1, {{1, 3, 3}}));
  for (const ClaimId id : {1, 2, 3}) send(ClaimSubmitted{.claim = id, .shape = 1, .group = 1});
  const std::vector<ClaimDecision> out = send(NodeGone{"b"});
  EXPECT_EQ(with(out, Verdict::Released).size(), 3u);
  EXPECT_EQ(engine_.cluster().nodes()[0].claims_held, 0u);
  EXPECT_EQ(reason(1), Reason::GangBroken);
  node("c", 1);
  EXPECT_EQ(engine_.reserved(), 0u) << "it rests first";
  EXPECT_EQ(with(send(Timer{10}), Verdict::Placed).size(), 3u);
}

TEST_F(EngineGangTest, AMemberAboveTheMinimumIsMissedByNobody) {
  node("a", 2);
  node("b", 1);
  send(gang(1, {{1, 2, 3}}));
  for (const ClaimId id : {1, 2, 3}) send(ClaimSubmitted{.claim = id, .shape = 1, .group = 1});
  ASSERT_EQ(engine_.reserved(), 3u);
  EXPECT_EQ(with(send(NodeGone{"b"}), Verdict::Released).size(), 1u);
  EXPECT_EQ(engine_.reserved(), 2u);
}

TEST_F(EngineGangTest, MembersThatEndedCountAsHeld) {
  node("a", 2);
  send(gang(1, {{1, 2, 2}}));
  for (const ClaimId id : {1, 2}) member(id, 1, 0, 1);
  send(ClaimWithdrawn{1, 5});
  EXPECT_EQ(state(2), ClaimState::Bound);
  EXPECT_EQ(one(ClaimSubmitted{.claim = 3, .shape = 1, .group = 1}).reason, Reason::LimitExceeded);
  send(ClaimWithdrawn{2, 6});
  send(GroupGone{1});
}

TEST_F(EngineGangTest, RolesStartTogether) {
  node("a", 4);
  send(gang(1, {{2, 1, 1}, {1, 2, 2}}));
  member(1, 1, 0, 2);
  member(2, 1, 1, 1);
  EXPECT_EQ(engine_.bound(), 0u);
  std::vector<ClaimDecision> out;
  EXPECT_TRUE(engine_.apply(ClaimSubmitted{.claim = 9, .shape = 1, .group = 1, .role = 0}, out));
  EXPECT_EQ(out.front().reason, Reason::InvalidArgument) << "the shape of another role";
  member(3, 1, 1, 1);
  EXPECT_EQ(engine_.bound(), 3u);
}

TEST_F(EngineGangTest, QuotaIsAskedForAllAtOnce) {
  node("a", 4);
  send(QueuePut{0, {"team", "", 1, {{"devices", 0, 3}}}});
  send(NamespacePut{0, "space", {{"limits.nvidia.com/gpu", "2"}}});
  GroupPut put = gang(1, {{1, 2, 2}});
  put.queue = 0;
  put.space = 0;
  send(put);
  run({.claim = 7, .shape = 1, .space = 0});
  for (const ClaimId id : {1, 2}) member(id, 1, 0, 1);
  EXPECT_EQ(reason(1), Reason::NamespaceQuotaReached);
  EXPECT_EQ(engine_.namespaces().used(0)[kDevices], 1);
  EXPECT_THAT(with(send(ClaimWithdrawn{7, 1}), Verdict::Placed), UnorderedElementsAre(1u, 2u));
  EXPECT_EQ(engine_.namespaces().used(0)[kDevices], 2);
  EXPECT_EQ(engine_.queues().used(engine_.queues().find("team"))[kDevices], 2);
  EXPECT_EQ(one(ClaimSubmitted{.claim = 8, .shape = 2, .queue = 0}).reason, Reason::QueueAtLimit);
}

class GangPreemptionTest : public testing::EngineFixture {
 protected:
  GangPreemptionTest() : EngineFixture({.bind_timeout_ms = 100, .bind_backoff_ms = 10, .preempt = true}) {}

  void gang(GroupId id, std::vector<GroupRole> roles, int32_t priority, Level required = Level::Cluster) {
    GroupPut put;
    put.group = id;
    put.roles = std::move(roles);
    put.priority = priority;
    put.required = required;
    send(put);
  }
  std::vector<ClaimDecision> submit(ClaimId claim, GroupId group, uint32_t role, uint32_t shape) {
    return send(ClaimSubmitted{.claim = claim, .shape = shape, .group = group, .role = role});
  }
};

TEST_F(GangPreemptionTest, AGangWithoutRoomHasOthersStoppedAndStartsAtOnceWhenTheyAreGone) {
  node("a", 3);
  for (const ClaimId id : {1, 2, 3}) run({.claim = id, .shape = 1});
  gang(1, {{1, 2, 3}}, 5);
  submit(11, 1, 0, 1);
  const std::vector<ClaimDecision> out = submit(12, 1, 0, 1);
  const std::vector<ClaimId> stopped = with(out, Verdict::Stop);
  ASSERT_EQ(stopped.size(), 2u) << "as many as its minimum needs";
  EXPECT_EQ(reason(11), Reason::PreemptionPending);
  EXPECT_EQ(reason(12), Reason::PreemptionPending);
  submit(13, 1, 0, 1);
  EXPECT_EQ(reason(13), Reason::PreemptionPending);
  EXPECT_THAT(with(send(ClaimWithdrawn{stopped[0], 1}), Verdict::Placed), IsEmpty()) << "all or none";
  run({.claim = 20, .shape = 1, .time_ms = 2});
  EXPECT_EQ(state(20), ClaimState::Pending) << "what was freed is theirs";
  const std::vector<ClaimDecision> last = send(ClaimWithdrawn{stopped[1], 3});
  EXPECT_THAT(with(last, Verdict::Placed), UnorderedElementsAre(11u, 12u));
  EXPECT_EQ(engine_.handovers().size(), 0u);
  EXPECT_EQ(reason(13), Reason::GangTooLarge) << "to grow it stops nobody";
}

TEST_F(GangPreemptionTest, SeveralRolesAndARack) {
  node("a", 2, "r1");
  node("b", 2, "r1");
  node("c", 3, "r2");
  for (const ClaimId id : {1, 2, 3, 4, 5, 6, 7}) run({.claim = id, .shape = 1});
  gang(1, {{2, 1, 1}, {1, 2, 2}}, 5, Level::Rack);
  submit(11, 1, 0, 2);
  submit(12, 1, 1, 1);
  const std::vector<ClaimId> stopped = with(submit(13, 1, 1, 1), Verdict::Stop);
  ASSERT_EQ(stopped.size(), 4u) << "only the first rack can hold it";
  for (const ClaimId id : stopped) {
    EXPECT_NE(engine_.status(id)->spot.node, engine_.cluster().find_node("c"));
    send(ClaimWithdrawn{id, 1});
  }
  for (const ClaimId id : {11, 12, 13}) EXPECT_EQ(state(id), ClaimState::Reserved);
}

TEST_F(GangPreemptionTest, WhoIsInTheWayOfNoRoleKeepsRunning) {
  node("a", 4);
  run({.claim = 1, .shape = 2});
  run({.claim = 2, .shape = 1});
  gang(1, {{1, 1, 1}, {10, 1, 1}}, 5);
  submit(11, 1, 0, 1);
  run({.claim = 3, .shape = 1, .priority = 5});
  const std::vector<ClaimId> stopped = with(submit(12, 1, 1, 10), Verdict::Stop);
  EXPECT_THAT(stopped, ElementsAre(1u)) << "the two devices of one do for both roles";
}

TEST_F(GangPreemptionTest, APromiseOfAGangEndsWithAnyOfItsMembers) {
  node("a", 2);
  for (const ClaimId id : {1, 2}) run({.claim = id, .shape = 1});
  gang(1, {{1, 2, 2}}, 5);
  submit(11, 1, 0, 1);
  ASSERT_EQ(with(submit(12, 1, 0, 1), Verdict::Stop).size(), 2u);
  send(ClaimWithdrawn{1, 1});
  send(ClaimWithdrawn{12, 2});
  EXPECT_EQ(engine_.handovers().size(), 0u);
  EXPECT_EQ(reason(11), Reason::GangIncomplete);
  EXPECT_EQ(engine_.cluster().nodes()[0].claims_held, 1u) << "the victim that was spared";
  run({.claim = 3, .shape = 1, .time_ms = 3});
  EXPECT_EQ(state(3), ClaimState::Bound);
}

TEST_F(GangPreemptionTest, AGangIsStoppedAsAWholeOrAboveItsMinimum) {
  node("a", 3);
  gang(1, {{1, 2, 3}}, 0);
  for (const ClaimId id : {1, 2, 3}) member(id, 1, 0, 1);
  ASSERT_EQ(engine_.bound(), 3u);
  const std::vector<ClaimId> first =
      with(send(ClaimSubmitted{.claim = 10, .shape = 1, .priority = 5}), Verdict::Stop);
  ASSERT_EQ(first.size(), 1u) << "one more than it needs";
  const std::vector<ClaimId> rest =
      with(send(ClaimSubmitted{.claim = 11, .shape = 1, .priority = 5}), Verdict::Stop);
  ASSERT_EQ(rest.size(), 2u) << "the rest only together";
  for (const ClaimId id : {first[0], rest[0], rest[1]}) send(ClaimWithdrawn{id, 1});
  EXPECT_EQ(state(10), ClaimState::Reserved);
  EXPECT_EQ(state(11), ClaimState::Reserved);
  // Others may come in their place, but not a part of them.
  for (const ClaimId id : {4, 5}) member(id, 1, 0, 1);
  EXPECT_EQ(state(4), ClaimState::Pending);
  EXPECT_EQ(state(5), ClaimState::Pending);
  send(ClaimWithdrawn{10, 2});
  EXPECT_EQ(state(4), ClaimState::Reserved);
  EXPECT_EQ(state(5), ClaimState::Reserved);
}

TEST_F(GangPreemptionTest, EachRoleKeepsItsOwnMinimum) {
  node("a", 3);
  gang(1, {{1, 1, 1}, {1, 1, 2}}, 0);
  member(1, 1, 0, 1);
  member(2, 1, 1, 1);
  member(3, 1, 1, 1);
  ASSERT_EQ(engine_.bound(), 3u);
  const std::vector<ClaimId> stopped =
      with(send(ClaimSubmitted{.claim = 10, .shape = 1, .priority = 5}), Verdict::Stop);
  ASSERT_EQ(stopped.size(), 1u);
  EXPECT_NE(stopped[0], 1u) << "there is nobody else in that role";
}

TEST_F(GangPreemptionTest, AGangThatIsSparedTooLateGoesAsAWhole) {
  node("a", 2);
  gang(1, {{1, 2, 2}}, 0);
  for (const ClaimId id : {1, 2}) member(id, 1, 0, 1);
  ASSERT_EQ(with(send(ClaimSubmitted{.claim = 10, .shape = 2, .priority = 5}), Verdict::Stop).size(), 2u);
  send(ClaimWithdrawn{1, 1});
  EXPECT_EQ(state(2), ClaimState::Bound);
  const std::vector<ClaimDecision> out = send(ClaimWithdrawn{10, 2});
  EXPECT_THAT(with(out, Verdict::Released), ElementsAre(2u)) << "half a gang is none";
  EXPECT_EQ(engine_.cluster().nodes()[0].claims_held, 0u);
}

TEST_F(GangPreemptionTest, WhatWasTakenIsNotTakenBack) {
  node("a", 2);
  gang(1, {{1, 2, 2}}, 0);
  for (const ClaimId id : {1, 2}) member(id, 1, 0, 1);
  gang(2, {{1, 2, 2}}, 5);
  submit(11, 2, 0, 1);
  ASSERT_EQ(with(submit(12, 2, 0, 1), Verdict::Stop).size(), 2u);
  for (const ClaimId id : {1, 2}) send(ClaimWithdrawn{id, 1});
  // The gang that was stopped comes back, and nobody is stopped for it however often it asks.
  for (const ClaimId id : {21, 22}) submit(id, 1, 0, 1);
  for (int64_t time = 2; time < 90; ++time) EXPECT_THAT(with(send(Timer{time}), Verdict::Stop), IsEmpty());
  EXPECT_EQ(state(11), ClaimState::Reserved);
  EXPECT_EQ(state(21), ClaimState::Pending);
}

}  // namespace
}  // namespace tweendeck::placement

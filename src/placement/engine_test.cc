#include "placement/engine.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "placement/policy/make_policy.h"

namespace tweendeck::placement {
namespace {

class EngineTest : public testing::Test {
 protected:
  EngineTest()
      : engine_(std::move(*make_policy({"binpack", {}})), {.bind_timeout_ms = 100, .bind_backoff_ms = 10}) {
    for (const uint32_t compute : {500u, 1000u}) {
      Request request;
      request.devices = 1;
      request.compute_permille = compute;
      send(ShapeDefined{compute, request});
    }
  }

  NodePut node(const std::string& name, uint32_t devices) {
    NodePut put;
    put.facts.name = name;
    for (uint32_t i = 0; i < devices; ++i) {
      DeviceFacts& device = put.facts.devices.emplace_back();
      device.id = name + std::to_string(i);
      device.memory_bytes = 80;
    }
    return put;
  }

  std::vector<ClaimDecision> send(const Event& event) {
    std::vector<ClaimDecision> out;
    const Status status = engine_.apply(event, out);
    EXPECT_TRUE(status) << to_string(status.error());
    return out;
  }

  // The one decision of an event.
  ClaimDecision one(const Event& event) {
    const std::vector<ClaimDecision> out = send(event);
    EXPECT_EQ(out.size(), 1u);
    return out.empty() ? ClaimDecision{} : out.front();
  }

  Engine engine_;
};

TEST_F(EngineTest, AClaimIsReservedBoundAndEnds) {
  send(node("a", 1));
  const ClaimDecision placed = one(ClaimSubmitted{1, 500, kNoNumber, 0, 5});
  EXPECT_EQ(placed.verdict, Verdict::Placed);
  EXPECT_EQ(engine_.status(1)->state, ClaimState::Reserved);
  EXPECT_FALSE(engine_.terms(1).empty());
  EXPECT_EQ(one(BindConfirmed{1, placed.reservation, 6}).verdict, Verdict::Bound);
  EXPECT_EQ(one(BindConfirmed{1, placed.reservation, 6}).reason, Reason::AlreadyExists);
  EXPECT_TRUE(send(Timer{1000}).empty()) << "what is bound does not expire";
  EXPECT_EQ(one(ClaimWithdrawn{1, 1001}).verdict, Verdict::Ended);
  EXPECT_FALSE(engine_.status(1));
  EXPECT_EQ(one(ClaimSubmitted{1, 500, kNoNumber, 0, 5}).reason, Reason::AlreadyExists)
      << "a late duplicate brings nothing back";
  EXPECT_EQ(one(ClaimWithdrawn{7, 1001}).reason, Reason::NotFound);
}

TEST_F(EngineTest, ABindThatDoesNotComeIsTakenBackAndTriedAgain) {
  send(node("a", 1));
  const ClaimDecision first = one(ClaimSubmitted{1, 500, kNoNumber, 0, 0});
  EXPECT_TRUE(send(Timer{99}).empty());
  const ClaimDecision taken = one(Timer{100});
  EXPECT_EQ(taken.verdict, Verdict::Released);
  EXPECT_EQ(taken.reason, Reason::BindTimeout);
  EXPECT_EQ(engine_.status(1)->reason, Reason::BindTimeout);
  EXPECT_EQ(engine_.cluster().nodes()[0].claims_held, 0u);
  const ClaimDecision second = one(Timer{110});
  EXPECT_EQ(second.verdict, Verdict::Placed);
  EXPECT_EQ(one(BindConfirmed{1, first.reservation, 111}).reason, Reason::ReservationStale);
  const ClaimDecision failed = one(BindFailed{1, second.reservation, 112});
  EXPECT_EQ(failed.reason, Reason::BindFailed);
  EXPECT_TRUE(send(Timer{131}).empty()) << "the back-off doubles";
  EXPECT_EQ(one(Timer{132}).verdict, Verdict::Placed);
}

TEST_F(EngineTest, WhoWaitsIsServedWhenRoomComes) {
  EXPECT_EQ(one(ClaimSubmitted{1, 1000, kNoNumber, 0, 1}).reason, Reason::NoSuchNode);
  EXPECT_EQ(one(ClaimSubmitted{2, 1000, kNoNumber, 0, 2}).verdict, Verdict::Infeasible);
  EXPECT_EQ(one(ClaimSubmitted{3, 1000, kNoNumber, 7, 3}).verdict, Verdict::Infeasible);
  const ClaimDecision urgent = one(node("a", 1));
  EXPECT_EQ(urgent.claim, 3u) << "the higher priority first";
  EXPECT_EQ(engine_.status(1)->reason, Reason::NoRoom) << "now time can help";
  const std::vector<ClaimDecision> next = send(ClaimWithdrawn{3, 9});
  ASSERT_EQ(next.size(), 2u);
  EXPECT_EQ(next[1].claim, 1u) << "then the older";
  EXPECT_EQ(engine_.status(2)->tried_ms, 9);
}

TEST_F(EngineTest, AClassThatCannotGoOnIsNotTriedAgain) {
  send(node("a", 2));
  send(ClaimSubmitted{1, 1000, kNoNumber, 0, 1});
  send(ClaimSubmitted{2, 500, kNoNumber, 0, 1});
  EXPECT_EQ(one(ClaimSubmitted{3, 1000, kNoNumber, 0, 2}).verdict, Verdict::Infeasible);
  EXPECT_EQ(one(ClaimSubmitted{4, 1000, kNoNumber, 0, 30}).verdict, Verdict::Infeasible);
  EXPECT_EQ(engine_.status(4)->tried_ms, 2) << "the verdict of its class still holds";
}

TEST_F(EngineTest, QueuesBarAndLetGo) {
  send(node("a", 4));
  send(QueuePut{0, {"team", "", 1, {{"devices", 0, 1}}}});
  send(ClaimSubmitted{1, 1000, 0, 0, 1});
  const ClaimDecision waits = one(ClaimSubmitted{2, 1000, 0, 0, 2});
  EXPECT_EQ(waits.verdict, Verdict::Waiting);
  EXPECT_EQ(waits.reason, Reason::QueueAtLimit);
  EXPECT_EQ(one(ClaimSubmitted{3, 1000, kNoNumber, 0, 3}).verdict, Verdict::Placed);
  EXPECT_EQ(send(ClaimWithdrawn{1, 4}).back().verdict, Verdict::Placed);
}

TEST_F(EngineTest, ALostNodeReleasesReservationsAndKeepsWhatRuns) {
  send(node("a", 1));
  send(node("b", 1));
  const ClaimDecision runs = one(ClaimSubmitted{1, 500, kNoNumber, 0, 1});
  send(BindConfirmed{1, runs.reservation, 2});
  send(ClaimSubmitted{2, 500, kNoNumber, 0, 3});
  const ClaimDecision lost = one(NodeGone{"a"});
  EXPECT_EQ(lost.claim, 2u);
  EXPECT_EQ(lost.reason, Reason::NodeLost);
  EXPECT_EQ(one(Timer{20}).spot.node, 1u);
  EXPECT_EQ(engine_.status(1)->state, ClaimState::Bound);
  EXPECT_EQ(one(ClaimWithdrawn{1, 21}).spot.node, 0u);
}

TEST_F(EngineTest, ResizeInPlace) {
  send(node("a", 1));
  send(ClaimSubmitted{1, 500, kNoNumber, 0, 1});
  EXPECT_EQ(one(Resize{1, 1000, 2}).verdict, Verdict::Resized);
  EXPECT_EQ(engine_.cluster().nodes()[0].compute_free[0], 0);
  send(ClaimSubmitted{2, 500, kNoNumber, 0, 3});
  EXPECT_EQ(send(Resize{1, 500, 4}).back().claim, 2u) << "what it gave up serves who waits";
  const ClaimDecision refused = one(Resize{1, 1000, 5});
  EXPECT_EQ(refused.verdict, Verdict::Rejected);
  EXPECT_EQ(refused.reason, Reason::NoRoom);
  EXPECT_EQ(engine_.cluster().nodes()[0].claims[0], 2);
}

TEST_F(EngineTest, BadEventsChangeNothing) {
  std::vector<ClaimDecision> out;
  const uint64_t before = engine_.hash();
  EXPECT_EQ(engine_.apply(NodeGone{"x"}, out).error().reason, Reason::NotFound);
  EXPECT_EQ(engine_.apply(ShapeDefined{500, Request{}}, out).error().reason, Reason::AlreadyExists);
  EXPECT_EQ(engine_.apply(ShapeDefined{kMaxNumber, Request{}}, out).error().reason, Reason::LimitExceeded);
  EXPECT_EQ(engine_.apply(QueuePut{0, {"a", "nobody", 1, {}}}, out).error().reason, Reason::NotFound);
  EXPECT_EQ(engine_.hash(), before);
  EXPECT_EQ(one(ClaimSubmitted{1, 77, kNoNumber, 0, 0}).reason, Reason::NotFound);
}

TEST(ClaimTableTest, FindsWhatIsThereAndNothingElse) {
  ClaimTable table;
  std::vector<ClaimSlot> slots(5000, kNoSlot);
  uint64_t state = 1;
  for (int round = 0; round < 50'000; ++round) {
    state = state * 6364136223846793005ull + 1442695040888963407ull;
    const uint64_t id = (state >> 33) % slots.size();
    ASSERT_EQ(table.find(id * 4096), slots[id]);
    if (slots[id] == kNoSlot) {
      slots[id] = table.add(id * 4096);
    } else {
      table.erase(slots[id]);
      slots[id] = kNoSlot;
    }
  }
}

ClaimAdopted adopted(ClaimId claim, uint32_t shape, const std::string& node, const std::string& device) {
  return {{claim, shape}, node, {{device, 0}}};
}

TEST_F(EngineTest, WhatIsKnownToRunIsBookedWhateverStandsAgainstIt) {
  send(node("a", 1));
  send(NodeCordon{"a", true});
  send(DeviceHealth{"a0", false});
  const std::vector<ClaimDecision> out = send(adopted(1, 500, "a", "a0"));
  ASSERT_EQ(out.size(), 2u);
  EXPECT_EQ(out[0].verdict, Verdict::Placed);
  EXPECT_EQ(out[1].verdict, Verdict::Bound);
  EXPECT_EQ(engine_.status(1)->state, ClaimState::Bound);
  EXPECT_EQ(engine_.cluster().nodes()[0].compute_free[0], 500);
  EXPECT_EQ(one(adopted(1, 500, "a", "a0")).reason, Reason::AlreadyExists);
  EXPECT_EQ(one(adopted(2, 1000, "a", "a0")).reason, Reason::InsufficientCompute) << "that cannot be true";
  EXPECT_EQ(one(adopted(2, 500, "b", "a0")).reason, Reason::NotFound);
  EXPECT_EQ(one(adopted(2, 500, "a", "b0")).reason, Reason::NotFound);
  EXPECT_EQ(one(adopted(2, 7, "a", "a0")).reason, Reason::NotFound);
  EXPECT_EQ(one(ClaimAdopted{{2, 500}, "a", {}}).reason, Reason::InvalidArgument);
  EXPECT_EQ(one(ClaimWithdrawn{1, 2}).verdict, Verdict::Ended);
  EXPECT_EQ(engine_.cluster().nodes()[0].compute_free[0], kWholeCompute);
  EXPECT_EQ(one(adopted(1, 500, "a", "a0")).reason, Reason::AlreadyExists) << "it ended";
}

TEST_F(EngineTest, WhoWaitsOrIsReservedMayTurnOutToRun) {
  send(node("a", 1));
  send(node("b", 1));
  const ClaimDecision first = one(ClaimSubmitted{1, 1000, kNoNumber, 0, 0});
  const std::string here = engine_.cluster().facts(first.spot.node).name;
  const std::string there = here == "a" ? "b" : "a";
  send(Timer{100});
  ASSERT_EQ(engine_.status(1)->reason, Reason::BindTimeout);
  EXPECT_EQ(send(adopted(1, 1000, here, here + "0")).back().verdict, Verdict::Bound)
      << "the bind was only late";
  EXPECT_TRUE(send(Timer{1000}).empty()) << "it waits for nothing any more";

  const ClaimDecision second = one(ClaimSubmitted{2, 500, kNoNumber, 0, 1001});
  ASSERT_EQ(engine_.cluster().facts(second.spot.node).name, there);
  EXPECT_EQ(one(adopted(2, 500, there, there + "0")).verdict, Verdict::Bound)
      << "no more than a confirmation";
  EXPECT_EQ(one(adopted(3, 1000, there, there + "0")).reason, Reason::InsufficientCompute);
  send(node("c", 1));
  const ClaimDecision third = one(ClaimSubmitted{3, 1000, kNoNumber, 0, 1002});
  EXPECT_EQ(one(adopted(3, 500, "c", "c0")).reason, Reason::InvalidArgument) << "of another shape";
  send(node("d", 1));
  const std::vector<ClaimDecision> moved = send(adopted(3, 1000, "d", "d0"));
  ASSERT_EQ(moved.size(), 3u);
  EXPECT_EQ(moved[0].verdict, Verdict::Released);
  EXPECT_EQ(moved[0].spot, third.spot);
  EXPECT_EQ(engine_.cluster().facts(moved[1].spot.node).name, "d");
  EXPECT_EQ(moved[2].verdict, Verdict::Bound);
  EXPECT_EQ(one(BindConfirmed{3, third.reservation, 1003}).reason, Reason::ReservationStale);

  EXPECT_EQ(one(ClaimSubmitted{4, 1000, kNoNumber, 0, 1004}).verdict, Verdict::Placed);
  EXPECT_EQ(one(ClaimSubmitted{5, 500, kNoNumber, 0, 1005}).verdict, Verdict::Placed);
  EXPECT_EQ(one(ClaimSubmitted{6, 500, kNoNumber, 0, 1006}).verdict, Verdict::Infeasible);
  EXPECT_EQ(send(ClaimWithdrawn{2, 1007}).back().claim, 6u) << "the room of the adopted one is given back";
}

TEST_F(EngineTest, AnAdoptedMemberProvesThatItsGangHasStarted) {
  send(node("a", 3));
  send(GroupPut{9, {{1000, 3, 4, Level::Cluster}}});
  EXPECT_EQ(one(ClaimSubmitted{1, 1000, kNoNumber, 0, 0, 9, 0}).reason, Reason::GangIncomplete);
  const std::vector<ClaimDecision> out =
      send(ClaimAdopted{{2, 1000, kNoNumber, 0, 0, 9, 0}, "a", {{"a0", 0}}});
  ASSERT_EQ(out.size(), 3u);
  EXPECT_EQ(out[1].verdict, Verdict::Bound);
  EXPECT_EQ(out[2].claim, 1u) << "who waited goes on, though the gang is smaller than its minimum now";
  EXPECT_EQ(out[2].verdict, Verdict::Placed);
  // The third was never told of, so it may have ended; one that is told of and lost breaks the gang.
  EXPECT_EQ(send(BindFailed{1, out[2].reservation, 1}).front().verdict, Verdict::Released);
  EXPECT_EQ(engine_.status(2)->state, ClaimState::Pending);
  EXPECT_EQ(engine_.status(2)->reason, Reason::GangIncomplete) << "it starts anew, with all three";
}

TEST_F(EngineTest, ARebuiltEngineHasTheSameBook) {
  send(node("a", 2));
  send(node("b", 2));
  for (ClaimId claim = 1; claim <= 6; ++claim) {
    const ClaimDecision placed = one(ClaimSubmitted{claim, 500, kNoNumber, 0, 0});
    send(BindConfirmed{claim, placed.reservation, 1});
  }
  send(ClaimWithdrawn{2, 2});
  Engine again(std::move(*make_policy({"binpack", {}})));
  std::vector<ClaimDecision> out;
  for (const uint32_t compute : {500u, 1000u}) {
    Request request;
    request.devices = 1;
    request.compute_permille = compute;
    EXPECT_TRUE(again.apply(ShapeDefined{compute, request}, out));
  }
  EXPECT_TRUE(again.apply(node("a", 2), out));
  EXPECT_TRUE(again.apply(node("b", 2), out));
  for (const ClaimId claim : {6u, 1u, 3u, 5u, 4u}) {
    const Spot spot = engine_.status(claim)->spot;
    const NodeFacts& facts = engine_.cluster().facts(spot.node);
    EXPECT_TRUE(again.apply(
        adopted(claim, 500, facts.name, facts.devices[static_cast<size_t>(spot.devices == 1 ? 0 : 1)].id),
        out));
  }
  EXPECT_EQ(again.cluster().hash(), engine_.cluster().hash());
  EXPECT_EQ(again.bound(), engine_.bound());
  const ClaimDecision next = one(ClaimSubmitted{7, 500, kNoNumber, 0, 3});
  out.clear();
  EXPECT_TRUE(again.apply(ClaimSubmitted{7, 500, kNoNumber, 0, 3}, out));
  EXPECT_EQ(out.front().spot, next.spot);
}

TEST_F(EngineTest, AFamilyKeepsApart) {
  const auto sibling = [](ClaimId claim, FamilyId family, Apart apart) {
    ClaimSubmitted event{claim, 500};
    event.family = family;
    event.apart = apart;
    return event;
  };
  send(node("a", 2));
  send(node("b", 2));
  const NodeIndex first = one(sibling(1, 7, Apart::Required)).spot.node;
  EXPECT_NE(one(sibling(2, 7, Apart::Required)).spot.node, first);
  EXPECT_EQ(one(sibling(3, 7, Apart::Required)).reason, Reason::DeviceAlreadyUsed);
  EXPECT_EQ(engine_.status(3)->reason, Reason::DeviceAlreadyUsed);
  EXPECT_EQ(one(sibling(4, 8, Apart::Required)).verdict, Verdict::Placed) << "another family";
  const NodeIndex few = one(sibling(5, 8, Apart::Preferred)).spot.node;
  EXPECT_NE(few, engine_.status(4)->spot.node);
  EXPECT_EQ(one(sibling(6, 8, Apart::Preferred)).verdict, Verdict::Placed)
      << "where there is one, for want of others";
  const std::vector<ClaimDecision> out = send(ClaimWithdrawn{1, 1});
  ASSERT_EQ(out.size(), 2u);
  EXPECT_EQ(out[1].claim, 3u);
  EXPECT_EQ(out[1].spot.node, first);
  EXPECT_EQ(one(sibling(9, 0, Apart::Preferred)).reason, Reason::InvalidArgument);
  ClaimAdopted run = adopted(10, 500, "b", "b0");
  run.claim.family = 11;
  const NodeIndex b = engine_.cluster().find_node("b");
  if (engine_.cluster().nodes()[b].compute_free[0] >= 500) {
    send(run);
    EXPECT_NE(one(sibling(12, 11, Apart::Required)).spot.node, b);
  }
}

TEST_F(EngineTest, ToGiveSomeBackIsAlwaysPossible) {
  send(node("a", 1));
  Request request;
  request.devices = 1;
  request.memory_bytes = 60;
  send(ShapeDefined{60, request});
  request.memory_bytes = 50;
  send(ShapeDefined{50, request});
  request.compute_permille = 1;
  send(ShapeDefined{51, request});
  one(ClaimSubmitted{1, 60});
  NodePut smaller = node("a", 1);
  smaller.facts.devices[0].memory_bytes = 55;
  send(smaller);
  send(NodeCordon{"a", true});
  EXPECT_EQ(one(Resize{1, 51, 1}).reason, Reason::NoRoom) << "more of something else";
  EXPECT_EQ(one(Resize{1, 50, 1}).verdict, Verdict::Resized);
  EXPECT_EQ(engine_.cluster().nodes()[0].memory_free[0], 5);
  EXPECT_EQ(one(Resize{1, 60, 2}).reason, Reason::NoRoom);
}

}  // namespace
}  // namespace tweendeck::placement

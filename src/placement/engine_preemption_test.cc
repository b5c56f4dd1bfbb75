#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "placement/engine.h"
#include "placement/policy/make_policy.h"

namespace tweendeck::placement {
namespace {

class EnginePreemptionTest : public testing::Test {
 protected:
  EnginePreemptionTest() : engine_(std::move(*make_policy({"binpack", {}})), {.preempt = true}) {
    NodePut node;
    node.facts.name = "a";
    for (const char* id : {"a0", "a1"}) {
      DeviceFacts& device = node.facts.devices.emplace_back();
      device.id = id;
      device.memory_bytes = 80;
    }
    send(node);
    for (const uint32_t devices : {1u, 2u}) {
      Request request;
      request.devices = devices;
      request.compute_permille = 1000;
      send(ShapeDefined{devices, request});
    }
  }

  std::vector<ClaimDecision> send(const Event& event) {
    std::vector<ClaimDecision> out;
    const Status status = engine_.apply(event, out);
    EXPECT_TRUE(status) << to_string(status.error());
    return out;
  }

  Engine engine_;
};

TEST_F(EnginePreemptionTest, TheRoomOfVictimsGoesToWhomTheyWereStoppedForAndToNobodyElse) {
  send(ClaimSubmitted{1, 1, kNoNumber, 0, 0});
  send(ClaimSubmitted{2, 1, kNoNumber, 0, 0});
  const std::vector<ClaimDecision> out = send(ClaimSubmitted{3, 2, kNoNumber, 5, 1});
  ASSERT_EQ(out.size(), 3u);
  EXPECT_EQ(out[0].verdict, Verdict::Stop);
  EXPECT_EQ(out[1].verdict, Verdict::Stop);
  EXPECT_EQ(out[2].verdict, Verdict::Waiting);
  EXPECT_EQ(engine_.status(3)->reason, Reason::PreemptionPending);
  send(ClaimSubmitted{4, 1, kNoNumber, 4, 2});  // higher than the victims, but they have gone to somebody
  EXPECT_EQ(engine_.status(4)->reason, Reason::NoRoom);
  EXPECT_EQ(send(ClaimWithdrawn{2, 3}).size(), 1u);
  EXPECT_EQ(engine_.status(4)->state, ClaimState::Pending) << "nobody slips in";
  const std::vector<ClaimDecision> last = send(ClaimWithdrawn{1, 4});
  ASSERT_EQ(last.size(), 2u);
  EXPECT_EQ(last[0].claim, 3u);
  EXPECT_EQ(last[0].verdict, Verdict::Placed);
  EXPECT_EQ(engine_.status(4)->state, ClaimState::Pending);
  send(ClaimWithdrawn{3, 5});
  EXPECT_EQ(engine_.status(4)->state, ClaimState::Reserved);
}

TEST_F(EnginePreemptionTest, APreemptorThatEndsOrWaitsTooLongFreesWhatItWasPromised) {
  for (const ClaimId id : {1, 2}) send(ClaimSubmitted{id, 1, kNoNumber, 0, 0});
  send(ClaimSubmitted{3, 2, kNoNumber, 5, 1});
  send(ClaimWithdrawn{1, 2});
  send(ClaimSubmitted{4, 1, kNoNumber, 0, 3});
  EXPECT_EQ(engine_.status(4)->state, ClaimState::Pending);
  send(ClaimWithdrawn{3, 4});
  EXPECT_EQ(engine_.status(4)->state, ClaimState::Reserved);
  EXPECT_EQ(engine_.handovers().size(), 0u);
  // Claim 2 was spared and can be chosen again; it does not stop, and the one that waits for it tries anew.
  for (const ClaimDecision& d : send(ClaimSubmitted{5, 2, kNoNumber, 5, 5}))
    EXPECT_NE(d.verdict, Verdict::Placed);
  EXPECT_EQ(engine_.handovers().size(), 1u);
  const std::vector<ClaimDecision> again = send(Timer{5 + kHandoverTimeoutMs});
  EXPECT_TRUE(std::ranges::any_of(
      again, [](const ClaimDecision& d) { return d.claim == 5 || d.verdict == Verdict::Stop; }));
}

TEST_F(EnginePreemptionTest, AQueueBelowItsShareReclaimsFromOneAbove) {
  send(QueuePut{0, {"mine", "", 1, {{"devices", 1, kUnlimited}}}});
  send(QueuePut{1, {"other", "", 1, {{"devices", 1, kUnlimited}}}});
  for (const ClaimId id : {1, 2}) send(ClaimSubmitted{id, 1, 1, 9, 0});
  const std::vector<ClaimDecision> out = send(ClaimSubmitted{3, 1, 0, 0, 1});
  ASSERT_EQ(out.size(), 2u);
  EXPECT_EQ(out[0].verdict, Verdict::Stop);
  send(ClaimWithdrawn{out[0].claim, 2});
  EXPECT_EQ(engine_.status(3)->state, ClaimState::Reserved);
  send(ClaimSubmitted{4, 1, 1, 9, 3});
  EXPECT_EQ(engine_.status(4)->reason, Reason::NoRoom) << "nothing is reclaimed back";
}

}  // namespace
}  // namespace tweendeck::placement

// The engine fed with small logs and traces whose outcome can be worked out by hand.
#include "sim/engine_replay.h"

#include <gmock/gmock.h>

namespace tweendeck::sim {
namespace {

using placement::ClaimState;
using placement::Remedy;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr std::string_view kLog =
    "# one node with two devices\n"
    "node name=n1 cpu=8000 device id=gpu0 memory=1000 device id=gpu1 memory=1000\n"
    "queue number=0 name=all rule resource=devices limit=1\n"
    "shape number=0 cpu=1000 devices=1 compute=600\n"
    "submit claim=1 shape=0 time=1000\n"
    "submit claim=2 shape=0 time=2000\n"
    "submit claim=3 shape=0 time=3000\n"
    "\n"
    "withdraw claim=1 time=9000\n";

std::unique_ptr<EngineReplay> replay(std::string_view log, int64_t until_ms = INT64_MAX) {
  auto made = EngineReplay::of_log(log, "log", {.policy = "binpack", .until_ms = until_ms});
  EXPECT_TRUE(made) << to_string(made.error());
  return std::move(*made);
}

TEST(EngineReplay, ALogIsAskedAtAnyTime) {
  auto before = replay(kLog, 5000);
  auto waits = before->why(3);
  ASSERT_TRUE(waits);
  EXPECT_EQ(waits->state, ClaimState::Pending);
  EXPECT_EQ(waits->reason, Reason::NoRoom);
  ASSERT_EQ(waits->room.size(), 1u);
  EXPECT_EQ(waits->room[0].reasons.front().reason, Reason::InsufficientCompute);
  EXPECT_EQ(waits->room[0].remedies.front().names, std::vector<std::string>{"claim 1"});
  auto after = replay(kLog);
  EXPECT_EQ(after->why(3)->state, ClaimState::Reserved);
  EXPECT_THAT(after->why(3)->text(), HasSubstr("n1 (gpu0)"));
}

TEST(EngineReplay, WhatIsSupposedChangesTheEngineOnly) {
  auto one = replay(kLog, 5000);
  auto decisions = one->suppose("withdraw claim=2");
  ASSERT_TRUE(decisions) << to_string(decisions.error());
  EXPECT_EQ(one->why(3)->state, ClaimState::Reserved);
  auto another = replay(kLog, 5000);
  EXPECT_EQ(another->why(3)->state, ClaimState::Pending);
  ASSERT_TRUE(another->suppose("claim devices=2 compute=300 cpu=1000"));
  auto supposed = another->why(another->last_supposed());
  EXPECT_EQ(supposed->state, ClaimState::Reserved);
  EXPECT_EQ(supposed->devices.size(), 2u);
  EXPECT_EQ(supposed->name, "supposed claim 1");
  EXPECT_FALSE(another->suppose("claim devices=2 color=red"));
  EXPECT_FALSE(another->suppose("withdraw claim=77"));
}

TEST(EngineReplay, AQuotaIsNamedWithItsNumbers) {
  auto one = replay(kLog, 500);
  ASSERT_TRUE(one->suppose("claim devices=1 compute=100 queue=0"));
  ASSERT_TRUE(one->suppose("claim devices=1 compute=100 queue=0"));
  auto second = one->why(one->last_supposed());
  EXPECT_EQ(second->reason, Reason::QueueAtLimit);
  ASSERT_EQ(second->room[0].remedies.front().kind, Remedy::Kind::Quota);
  EXPECT_EQ(second->room[0].remedies.front().detail,
            "queue all uses 1 of at most 1 device, and the claim asks for 1 device");
}

TEST(EngineReplay, MistakesNameTheLineAndRefusalsAreCounted) {
  auto wrong = EngineReplay::of_log("node name=n1\n\nsubmit claim=x\n", "some.log", {.policy = "binpack"});
  ASSERT_FALSE(wrong);
  EXPECT_THAT(wrong.error().message, HasSubstr("some.log:3"));
  EXPECT_FALSE(EngineReplay::of_log("# nothing\n", "some.log", {.policy = "binpack"}));
  auto refused = replay("node name=n1\nsubmit claim=1 shape=5\n");
  EXPECT_EQ(refused->refusals().count, 1u);
  EXPECT_THAT(refused->refusals().first, HasSubstr("log:2: claim 1"));
  EXPECT_FALSE(refused->find("2"));
  EXPECT_FALSE(refused->find("half"));
}

TEST(EngineReplay, ATraceHasNamesLifetimesAndLostNodes) {
  Workload workload;
  workload.nodes =
      *parse_nodes("sn,cpu_milli,memory_mib,gpu,model\na,8000,1000,1,X\nb,8000,1000,1,X\n", "nodes");
  workload.pods = *parse_pods("name,cpu_milli,memory_mib,num_gpu,gpu_milli\nwhole,1000,1,1,1000\n", "pods",
                              workload.nodes);
  auto events = parse_event_log(
      "time_s,event,name,lifetime_s\n0,arrive,whole,100\n1,arrive,whole,50\n2,arrive,whole,10\n10,node-down,"
      "a,\n",
      "log", workload.nodes, workload.pods);
  ASSERT_TRUE(events);
  auto before = EngineReplay::of_trace(workload, *events, {.policy = "binpack", .until_ms = 5000});
  ASSERT_TRUE(before) << to_string(before.error());
  auto third = (*before)->why(*(*before)->find("whole#3"));
  ASSERT_TRUE(third);
  ASSERT_EQ(third->state, ClaimState::Pending);
  const auto& remedies = third->room[0].remedies;
  const auto leave = std::ranges::find(remedies, Remedy::Kind::Leave, &Remedy::kind);
  ASSERT_NE(leave, remedies.end());
  EXPECT_THAT(leave->names, ElementsAre("whole#2"));
  EXPECT_EQ(leave->at_ms, 51'000);
  auto after = EngineReplay::of_trace(workload, *events, {.policy = "binpack", .until_ms = 60'000});
  EXPECT_EQ((*after)->why(*(*after)->find("whole#2"))->state, ClaimState::Ended);
  // The node of the first was lost; it waits behind the third, which has the other one until 61 s.
  EXPECT_EQ((*after)->why(*(*after)->find("whole#3"))->state, ClaimState::Bound);
  auto lost = (*after)->why(*(*after)->find("whole"));
  EXPECT_EQ(lost->state, ClaimState::Pending);
  EXPECT_THAT(lost->text(), HasSubstr("a has room once it is open"));
}

}  // namespace
}  // namespace tweendeck::sim

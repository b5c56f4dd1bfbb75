// Little clusters over time whose waits can be worked out by hand.
#include "sim/timeline.h"

#include <gmock/gmock.h>

#include "sim/load.h"
#include "sim/policies.h"

namespace tweendeck::sim {
namespace {

using ::testing::ElementsAre;
using Kind = TimelineEvent::Kind;

NodeList one_gpu_nodes(int count) {
  std::string text = "sn,cpu_milli,memory_mib,gpu,model\n";
  for (int at = 0; at < count; ++at) text += "n" + std::to_string(at) + ",8000,1000,1,X\n";
  return *parse_nodes(text, "nodes");
}

// Row 0: a whole GPU; 1: half a GPU; 2: all CPUs of a node.
PodList three_pods(const NodeList& nodes) {
  return *parse_pods(
      "name,cpu_milli,memory_mib,num_gpu,gpu_milli,qos,scheduled_time,deletion_time\n"
      "whole,1000,1,1,1000,LS,0,100\nhalf,1000,1,1,500,BE,0,50\ncpu,8000,1,0,0,BE,0,10\n",
      "pods", nodes);
}

TimelineResult play(const Timeline& timeline, int node_count, std::string_view policy = "bestfit") {
  NodeList nodes = one_gpu_nodes(node_count);
  PodList pods = three_pods(nodes);
  Book book(nodes);
  std::vector<uint32_t> ranks;
  for (int at = 0; at < node_count; ++at) ranks.push_back(static_cast<uint32_t>(at));
  auto maker = make_scheduler_maker(policy, nodes, pods);
  auto scheduler = (*maker)->start(book, ranks);
  return *run_timeline(book, **scheduler, pods, timeline);
}

TimelineEvent arrive(int64_t at_ms, uint32_t row, int64_t lifetime_ms) {
  return {at_ms, Kind::Arrive, row, lifetime_ms};
}

TEST(Timeline, WhoDoesNotFitWaitsForRoom) {
  Timeline timeline;
  timeline.events = {arrive(0, 0, 10'000), arrive(1000, 0, 10'000)};
  timeline.end_ms = 20'000;
  TimelineResult result = play(timeline, 1);
  EXPECT_EQ(result.all.arrived, 2);
  EXPECT_EQ(result.all.waited, 1);
  EXPECT_DOUBLE_EQ(result.all.wait_s, 9);
  EXPECT_DOUBLE_EQ(result.all.mean_wait_s(), 4.5);
  EXPECT_DOUBLE_EQ(result.allocation_percent, 100);
  EXPECT_DOUBLE_EQ(result.all.held_gpu_s, 20);
  EXPECT_EQ(result.longest_queue, 1);
  EXPECT_THAT(result.wait_s_by_bar, ElementsAre(0, 9, 0, 0));  // model, gpu, cpu, memory
}

TEST(Timeline, TheQueueIsInOrderOfArrivalAndSkipsWhoDoesNotFit) {
  Timeline timeline;
  // Half a GPU is free from 10 s: the whole one waits on, the two halves behind it start as room appears.
  timeline.events = {arrive(0, 1, 10'000), arrive(0, 1, 30'000), arrive(1000, 0, 1000), arrive(2000, 1, 5000),
                     arrive(3000, 1, 5000)};
  timeline.end_ms = 40'000;
  TimelineResult result = play(timeline, 1);
  // whole: 29 s (until 30 s), halves: 8 s and 12 s.
  EXPECT_DOUBLE_EQ(result.all.wait_s, 29 + 8 + 12);
  EXPECT_EQ(result.queues[0].arrived, 1);
  EXPECT_DOUBLE_EQ(result.queues[0].wait_s, 29);
  EXPECT_EQ(result.queues[1].arrived, 4);
}

TEST(Timeline, WhoStillWaitsAtTheEndCountsWithTheWaitSoFar) {
  Timeline timeline;
  timeline.events = {arrive(0, 0, kForever), arrive(1000, 0, 1000)};
  timeline.end_ms = 5000;
  TimelineResult result = play(timeline, 1);
  EXPECT_EQ(result.all.still_waiting, 1);
  EXPECT_DOUBLE_EQ(result.all.wait_s, 4);
}

TEST(Timeline, OnlyTheMeasuredPartCounts) {
  Timeline timeline;
  timeline.at_start = {arrive(0, 0, 4000), arrive(0, 0, 4000)};
  timeline.events = {arrive(1000, 0, 1000), arrive(6000, 0, 4000)};
  timeline.measured_from_ms = 5000;
  timeline.end_ms = 15'000;
  TimelineResult result = play(timeline, 1);
  EXPECT_EQ(result.waited_at_start, 1);
  EXPECT_EQ(result.all.arrived, 1);
  // At 4 s the second of the start begins, at 8 s who came at 1 s, at 9 s who came at 6 s, until 13 s.
  EXPECT_DOUBLE_EQ(result.all.wait_s, 3);
  EXPECT_DOUBLE_EQ(result.allocation_percent, 80);
}

TEST(Timeline, ALostNodesPodsWaitInTheirOldPlaceAndBeginAnew) {
  for (std::string_view policy : {"bestfit", "binpack"}) {
    Timeline timeline;
    timeline.events = {arrive(0, 0, 10'000),
                       arrive(1000, 0, 10'000),
                       {2000, Kind::NodeDown, 0, kForever},
                       arrive(3000, 0, 1000),
                       {6000, Kind::NodeUp, 0, kForever}};
    timeline.end_ms = 30'000;
    TimelineResult result = play(timeline, 2, policy);
    // The first pod is on node 0 or 1 by the policy's ties: both go to the lowest rank, node 0.
    EXPECT_EQ(result.lost, 1) << policy;
    // Lost at 2 s, again at 6 s (4 s); the third from 3 s until node 1 is free at 11 s (8 s).
    EXPECT_DOUBLE_EQ(result.all.wait_s, 12) << policy;
    EXPECT_EQ(result.all.waited, 2) << policy;
  }
}

TEST(Timeline, EveryPolicyKeepsTheBook) {
  NodeList nodes = one_gpu_nodes(20);
  PodList pods = three_pods(nodes);
  for (std::string_view policy : policy_names()) {
    auto stream = make_stream(nodes, pods, {.percent = 130, .arrivals = 500, .seed = 7, .longest_s = 60});
    ASSERT_TRUE(stream);
    stream->events.insert(stream->events.begin() + 100,
                          {stream->events[99].at_ms, Kind::NodeDown, 3, kForever});
    stream->events.insert(stream->events.begin() + 300,
                          {stream->events[299].at_ms, Kind::NodeUp, 3, kForever});
    Book book(nodes);
    std::vector<uint32_t> ranks(20);
    for (uint32_t at = 0; at < 20; ++at) ranks[at] = 19 - at;
    auto maker = make_scheduler_maker(policy, nodes, pods);
    auto scheduler = (*maker)->start(book, ranks);
    auto result = run_timeline(book, **scheduler, pods, *stream);
    ASSERT_TRUE(result) << policy << ": " << to_string(result.error());
    EXPECT_EQ(result->refused_feasible, 0) << policy;
    EXPECT_GT(result->all.waited, 0) << policy;
  }
}

TEST(Stream, OffersTheLoadThatWasAsked) {
  NodeList nodes = one_gpu_nodes(100);
  PodList pods = three_pods(nodes);
  auto stream = make_stream(nodes, pods, {.percent = 90, .arrivals = 20'000, .seed = 1, .longest_s = 80});
  ASSERT_TRUE(stream);
  double gpu_ms = 0, start_gpus = 0;
  for (const TimelineEvent& event : stream->events) {
    EXPECT_LE(event.lifetime_ms, 80'000);
    gpu_ms += pods.pods[event.subject].asked_milli() / 1000.0 * static_cast<double>(event.lifetime_ms);
  }
  for (const TimelineEvent& event : stream->at_start)
    start_gpus += pods.pods[event.subject].asked_milli() / 1000.0;
  EXPECT_NEAR(gpu_ms / static_cast<double>(stream->end_ms), 90, 3);
  EXPECT_NEAR(start_gpus, 90, 2);
  auto again = make_stream(nodes, pods, {.percent = 90, .arrivals = 20'000, .seed = 1, .longest_s = 80});
  EXPECT_EQ(again->events, stream->events);
  auto other = make_stream(nodes, pods, {.percent = 90, .arrivals = 20'000, .seed = 2, .longest_s = 80});
  EXPECT_NE(other->events, stream->events);
}

TEST(Stream, ATraceWithoutLifetimesIsRefused) {
  NodeList nodes = one_gpu_nodes(1);
  PodList pods = *parse_pods("name,cpu_milli,memory_mib,num_gpu,gpu_milli\np,1,1,1,1000\n", "pods", nodes);
  auto stream = make_stream(nodes, pods, {.percent = 90, .arrivals = 10, .seed = 1, .longest_s = 0});
  ASSERT_FALSE(stream);
  EXPECT_EQ(stream.error().reason, Reason::InvalidArgument);
}

}  // namespace
}  // namespace tweendeck::sim

// Whole little clusters whose result can be worked out by hand.
#include "sim/inflation.h"

#include <gmock/gmock.h>

#include "sim/policies.h"

namespace tweendeck::sim {
namespace {

using ::testing::ElementsAre;

NodeList nodes_of(std::string_view rows) {
  return *parse_nodes("sn,cpu_milli,memory_mib,gpu,model\n" + std::string(rows), "nodes");
}
PodList pods_of(std::string_view rows, const NodeList& nodes) {
  return *parse_pods("name,cpu_milli,memory_mib,num_gpu,gpu_milli,gpu_spec,qos\n" + std::string(rows), "pods",
                     nodes);
}

struct Played {
  Inflation inflation;
  Book book;
};

Played play(std::string_view policy, const NodeList& nodes, const PodList& pods,
            const std::vector<uint32_t>& ranks, const std::vector<uint32_t>& arrivals) {
  Book book(nodes);
  auto maker = make_scheduler_maker(policy, nodes, pods);
  auto scheduler = (*maker)->start(book, ranks);
  Inflation inflation = *inflate(book, **scheduler, pods, arrivals, typical_pods(pods));
  return {std::move(inflation), std::move(book)};
}

TEST(Inflation, TiesGoToTheLowestRank) {
  NodeList nodes = nodes_of("a,8000,1000,2,X\nb,8000,1000,2,X\n");
  PodList pods = pods_of("p,1000,1,1,1000,,LS\n", nodes);
  for (std::string_view policy : policy_names()) {
    EXPECT_EQ(play(policy, nodes, pods, {0, 1}, {0}).book.node(0).free_gpus(), 1) << policy;
    EXPECT_EQ(play(policy, nodes, pods, {1, 0}, {0}).book.node(1).free_gpus(), 1) << policy;
  }
}

TEST(Inflation, WhatBarsAPodIsCounted) {
  NodeList nodes = nodes_of("a,8000,1000,1,X\nb,8000,1000,1,Y\n");
  PodList pods = pods_of(
      "model,0,0,1,1000,Z,LS\nfill,5000,600,1,1000,,LS\ngpu,0,0,1,10,,BE\ncpu,4000,0,0,0,,BE\n"
      "memory,0,500,0,0,,BE\n",
      nodes);
  for (std::string_view policy : {"bestfit", "binpack"}) {
    Inflation played = play(policy, nodes, pods, {0, 1}, {0, 1, 1, 2, 3, 4}).inflation;
    EXPECT_THAT(played.refused, ElementsAre(1, 1, 1, 1));  // model, gpu, cpu, memory
    EXPECT_EQ(played.refused_feasible, 0);
    ASSERT_EQ(played.queues.size(), 2);
    EXPECT_EQ(played.queues[0].arrived, 3);
    EXPECT_EQ(played.queues[0].refused, 1);
    EXPECT_EQ(played.queues[0].asked_milli, 3000);
    EXPECT_EQ(played.queues[0].held_milli, 2000);
    EXPECT_EQ(played.queues[1].refused, 3);
    EXPECT_EQ(played.allocation.hundredths(150), 10'000);
  }
}

// Pods of 0.5 GPU only: a rest of 0.5 is of use, one below is lost.
TEST(Inflation, FgdFillsTheHoleThatFits) {
  NodeList nodes = nodes_of("a,64000,1000,2,X\nb,64000,1000,2,X\n");
  PodList pods = pods_of("half,1000,1,1,500,,LS\n", nodes);
  Played played = play("fgd", nodes, pods, {0, 1}, {0, 0, 0});
  EXPECT_THAT(played.book.node(0).rest, ::testing::Contains(0));
  EXPECT_EQ(played.book.node(1).free_gpus(), 2);
}

TEST(Inflation, ABadDecisionIsRefusedByTheBook) {
  class Liar final : public Scheduler {
   public:
    std::optional<Placed> place(uint64_t, uint32_t) override { return Placed{0, 1}; }
    void arrived(uint32_t) override {}
    void ended(uint32_t) override {}
    void released(uint64_t) override {}
    void changed(uint32_t) override {}
  } liar;
  NodeList nodes = nodes_of("a,8000,1000,1,X\n");
  PodList pods = pods_of("p,1000,1,1,600,,LS\n", nodes);
  Book book(nodes);
  auto result = inflate(book, liar, pods, {0, 0}, {});
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().reason, Reason::Internal);
  EXPECT_EQ(book.allocated_milli(), 600);
}

TEST(Book, AReleaseGivesBackWhatWasTaken) {
  NodeList nodes = nodes_of("a,8000,1000,2,X\n");
  PodList pods = pods_of("share,1000,10,1,600,,LS\nwhole,1000,10,1,1000,,LS\n", nodes);
  Book book(nodes), empty(nodes);
  ASSERT_TRUE(book.place(pods.pods[0], {0, 0b10}));
  ASSERT_TRUE(book.place(pods.pods[1], {0, 0b01}));
  EXPECT_EQ(book.node(0).classes, kShare | kOneGpu);
  EXPECT_FALSE(book.place(pods.pods[0], {0, 0b100})) << "there is no third GPU";
  book.release(pods.pods[0], {0, 0b10});
  EXPECT_EQ(book.node(0).classes, kOneGpu);
  book.release(pods.pods[1], {0, 0b01});
  EXPECT_EQ(book.node(0), empty.node(0));
  EXPECT_EQ(book.memory_mib(0), 1000);
  book.set_up(0, false);
  EXPECT_FALSE(book.has_room(0, pods.pods[0]));
}

}  // namespace
}  // namespace tweendeck::sim

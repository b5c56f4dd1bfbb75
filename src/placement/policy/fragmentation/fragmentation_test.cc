#include "placement/policy/fragmentation/fragmentation.h"

#include <gtest/gtest.h>

#include <bit>

#include "placement/policy/fragmentation/test_cluster.h"

namespace tweendeck::placement {
namespace {

using fragmentation::ask;
using fragmentation::Dice;
using fragmentation::machine;

struct Held {
  Spot spot;
  ShapeId shape = 0;
};

// A cluster of several types under a stream of claims that come and go.
class World {
 public:
  explicit World(uint64_t seed, bool memory = false) : dice_(seed), memory_(memory) {
    for (uint32_t i = 0; i < 12; ++i) put("big" + std::to_string(i), 8, 96'000, "G2");
    for (uint32_t i = 0; i < 6; ++i) put("poor" + std::to_string(i), 2, 16'000, "P100");
    for (uint32_t i = 0; i < 4; ++i) put("rich" + std::to_string(i), 2, 104'000, "T4");
    put("top", 8, 128'000, "G3");
    const uint32_t sizes[] = {810, 470, 320, 220, 1000, 1000, 1000, 137};
    for (const uint32_t size : sizes) {
      Request request = ask(1000 + dice_.below(11'000), 1, size);
      if (memory && size < 1000) request.memory_bytes = (1 + dice_.below(60)) << 30;
      add(request);
    }
    add(ask(12'500, 0, 0));
    add(ask(88'000, 8, 1000));
    add(ask(16'000, 2, 1000));
    Request chosen = ask(4000, 1, 470);
    chosen.models = {"P100", "T4"};
    add(chosen);
    Request near = ask(4000, 2, 500);
    near.near = Near::SameNuma;
    near.near_required = false;
    add(near);
    Request alone = ask(1000, 1, 300);
    alone.exclusive = true;
    add(alone);
  }

  bool arrive() {
    const ShapeId shape = shapes_[dice_.below(static_cast<uint32_t>(shapes_.size()))];
    policy_.arrived(shape);
    const auto choice = policy_.choose(cluster_, shape, {});
    bool fits = false;
    for (NodeIndex node = 0; node < cluster_.nodes().size() && !fits; ++node)
      fits = cluster_.fits(node, shape);
    EXPECT_EQ(choice.has_value(), fits) << "shape " << shape;
    if (choice) {
      EXPECT_TRUE(cluster_.fits(choice->spot, shape));
      cluster_.take(choice->spot, shape);
      held_.push_back({choice->spot, shape});
      mix(choice->spot.node);
      mix(choice->spot.devices);
      mix(static_cast<uint64_t>(choice->score));
    }
    if (settles) policy_.settle(cluster_);
    return choice.has_value();
  }

  void depart() {
    if (held_.empty()) return;
    const size_t index = dice_.below(static_cast<uint32_t>(held_.size()));
    cluster_.give(held_[index].spot, held_[index].shape);
    policy_.departed(held_[index].shape);
    held_[index] = held_.back();
    held_.pop_back();
  }

  void put(const std::string& name, uint32_t devices, uint32_t cpu, const std::string& model) {
    ASSERT_TRUE(cluster_.put_node(machine(name, devices, cpu, model, memory_ ? 80ull << 30 : 0)));
  }
  void add(const Request& request) { shapes_.push_back(*cluster_.shape_id(request)); }
  Cluster& cluster() { return cluster_; }
  FragmentationPolicy& policy() { return policy_; }
  std::vector<ShapeId>& shapes() { return shapes_; }
  uint64_t digest() const { return digest_; }
  Dice& dice() { return dice_; }

  bool settles = true;

 private:
  void mix(uint64_t value) { digest_ = std::rotl((digest_ ^ value) * 0x9e3779b97f4a7c15ull, 23); }

  Dice dice_;
  bool memory_;
  Cluster cluster_;
  FragmentationPolicy policy_;
  std::vector<ShapeId> shapes_;
  std::vector<Held> held_;
  uint64_t digest_ = 0;
};

TEST(Fragmentation, PlacesExactlyWhatFits) {
  World world(1);
  for (int i = 0; i < 600; ++i) world.arrive();
}

TEST(Fragmentation, PlacesExactlyWhatFitsWhileClaimsAndNodesComeAndGo) {
  for (const bool memory : {false, true}) {
    World world(2, memory);
    for (int i = 0; i < 3000; ++i) {
      world.arrive();
      if (i > 200 && world.dice().below(100) < 95) world.depart();
      if (i % 500 == 250) {
        ASSERT_TRUE(world.cluster().set_cordon("big3", true));
      }
      if (i % 500 == 300) {
        ASSERT_TRUE(world.cluster().set_cordon("big3", false));
      }
      if (i % 700 == 350) {
        ASSERT_TRUE(world.cluster().set_device_health("top/3", i % 1400 == 350));
      }
      if (i == 1000) world.put("late", 4, 32'000, "V100");
      if (i == 1500) {
        ASSERT_TRUE(world.cluster().remove_node("poor1"));
      }
      if (i == 1700) world.add(ask(2000, 1, 90));
    }
    EXPECT_GT(world.policy().counters().learnings, 1u);
  }
}

// Equal on every compiler and optimisation level.
TEST(Fragmentation, DecidesTheSameEverywhere) {
  World world(3);
  for (int i = 0; i < 2000; ++i) {
    world.arrive();
    if (i > 150) world.depart();
  }
  EXPECT_EQ(world.digest(), 14594172959319821563u);
}

TEST(Fragmentation, DecidesTheSameWhetherItSettlesOrNot) {
  World one(4);
  World other(4);
  other.settles = false;
  for (int i = 0; i < 1500; ++i) {
    one.arrive();
    other.arrive();
    if (i > 150) one.depart();
    if (i > 150) other.depart();
  }
  EXPECT_EQ(one.digest(), other.digest());
}

TEST(Fragmentation, SpeculationLeavesNoTrace) {
  World one(5);
  World other(5);
  for (int i = 0; i < 800; ++i) {
    one.arrive();
    other.arrive();
    if (i % 10 == 0) {
      const auto mark = other.cluster().mark();
      for (const ShapeId shape : other.shapes()) {
        const auto choice = other.policy().choose(other.cluster(), shape, {});
        if (choice) other.cluster().take(choice->spot, shape);
      }
      other.cluster().undo_to(mark);
    }
    if (i > 150) one.depart();
    if (i > 150) other.depart();
  }
  EXPECT_EQ(one.digest(), other.digest());
}

TEST(Fragmentation, TakesCpuWhereItIsPlentifulBeforeAnythingIsLearned) {
  Cluster cluster;
  ASSERT_TRUE(cluster.put_node(machine("poor", 2, 16'000)));
  ASSERT_TRUE(cluster.put_node(machine("rich", 2, 104'000)));
  const ShapeId shape = *cluster.shape_id(ask(12'500, 0, 0));
  FragmentationPolicy policy;
  policy.arrived(shape);
  const auto choice = policy.choose(cluster, shape, {});
  ASSERT_TRUE(choice);
  EXPECT_EQ(choice->spot.node, cluster.find_node("rich"));
}

TEST(Fragmentation, KeepsAHoleForTheSizeThatFillsIt) {
  Cluster cluster;
  for (int i = 0; i < 40; ++i) ASSERT_TRUE(cluster.put_node(machine("n" + std::to_string(i), 8, 800'000)));
  const ShapeId large = *cluster.shape_id(ask(1000, 1, 650));
  const ShapeId small = *cluster.shape_id(ask(1000, 1, 350));
  FragmentationPolicy policy;
  const auto place = [&](ShapeId shape) {
    policy.arrived(shape);
    const auto choice = policy.choose(cluster, shape, {});
    ASSERT_TRUE(choice);
    cluster.take(choice->spot, shape);
  };
  for (int i = 0; i < 300; ++i) place(i % 2 == 0 ? large : small);
  uint32_t torn = 0;  // neither idle, nor full, nor waiting for one of the two
  for (const NodeState& node : cluster.nodes()) {
    for (uint32_t i = 0; i < node.device_count; ++i) {
      torn += node.compute_free[i] != 0 && node.compute_free[i] != 350 && node.compute_free[i] != 1000;
    }
  }
  EXPECT_LE(torn, 8u);
}

TEST(Fragmentation, NarrowingAndWeightsAreHeeded) {
  Cluster cluster;
  for (int i = 0; i < 4; ++i) ASSERT_TRUE(cluster.put_node(machine("n" + std::to_string(i), 8, 96'000)));
  const ShapeId shape = *cluster.shape_id(ask(1000, 1, 500));
  FragmentationPolicy policy;
  policy.arrived(shape);
  const std::vector<bool> only{false, false, true, true};
  const auto narrowed = policy.choose(cluster, shape, {.nodes = &only, .residency = nullptr});
  ASSERT_TRUE(narrowed);
  EXPECT_EQ(narrowed->spot.node, 2u);
  const std::vector<uint32_t> residency{0, 0, 0, 1000};
  const auto near = policy.choose(cluster, shape, {.nodes = nullptr, .residency = &residency});
  ASSERT_TRUE(near);
  EXPECT_EQ(near->spot.node, 3u);
  const std::vector<bool> none(4, false);
  EXPECT_FALSE(policy.choose(cluster, shape, {.nodes = &none, .residency = nullptr}));
}

TEST(Fragmentation, TermsAddUpToTheScore) {
  World world(6);
  for (int i = 0; i < 300; ++i) world.arrive();
  for (const ShapeId shape : world.shapes()) {
    if (!world.cluster().shape(shape).plain) continue;
    const auto choice = world.policy().choose(world.cluster(), shape, {});
    if (!choice || choice->score <= INT32_MIN) continue;
    int64_t sum = 0;
    for (const ScoreTerm& term : world.policy().terms(world.cluster(), shape, choice->spot))
      sum += term.value;
    EXPECT_EQ(sum, choice->score) << "shape " << shape;
  }
}

}  // namespace
}  // namespace tweendeck::placement

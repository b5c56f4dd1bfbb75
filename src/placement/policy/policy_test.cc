#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>

#include "base/clock.h"
#include "placement/policy/fgd.h"
#include "placement/policy/make_policy.h"
#include "placement/policy/tournament.h"

namespace tweendeck::placement {
namespace {

using ::testing::HasSubstr;

constexpr uint64_t kGiB = 1ull << 30;

NodeFacts machine(const std::string& name, uint32_t devices, uint32_t cpu_milli = 96'000) {
  NodeFacts node;
  node.name = name;
  node.cpu_milli = cpu_milli;
  node.memory_bytes = 512 * kGiB;
  for (uint32_t i = 0; i < devices; ++i) {
    DeviceFacts device;
    device.id = name + "-gpu" + std::to_string(i);
    device.model = "G2";
    device.memory_bytes = 80 * kGiB;
    device.numa_node = static_cast<int32_t>(2 * i / devices);
    device.link_island = static_cast<int32_t>(i % 2);
    device.max_claims = 10;
    node.devices.push_back(device);
  }
  return node;
}

ShapeId shape_of(Cluster& cluster, uint32_t compute, uint32_t devices = 1, Prefer prefer = Prefer::Default) {
  Request request;
  request.cpu_milli = 1000;
  request.devices = devices;
  request.compute_permille = compute;
  request.prefer = prefer;
  return *cluster.shape_id(request);
}

std::unique_ptr<Policy> policy(const std::string& name) {
  auto made = make_policy({name, {}});
  EXPECT_TRUE(made) << to_string(made.error());
  return std::move(*made);
}

Choice place(Cluster& cluster, Policy& policy, ShapeId shape) {
  policy.arrived(shape);
  const std::optional<Choice> choice = policy.choose(cluster, shape, {});
  EXPECT_TRUE(choice);
  if (!choice) return {};
  cluster.take(choice->spot, shape);
  return *choice;
}

TEST(Tournament, KeepsTheBestAndTheLowestIndex) {
  Tournament tree;
  Random random(1);
  for (const size_t nodes : {1u, 2u, 37u, 64u}) {
    tree.reset(nodes);
    std::vector<int32_t> scores(nodes, kUnfit);
    for (int round = 0; round < 2000; ++round) {
      const auto node = static_cast<uint32_t>(random.below(nodes));
      scores[node] = random.below(4) == 0 ? kUnfit : static_cast<int32_t>(random.below(9)) - 4;
      tree.set(node, scores[node]);
      const auto best = std::ranges::max_element(scores);
      ASSERT_EQ(tree.best_score(), *best);
      ASSERT_EQ(tree.best_node(), static_cast<uint32_t>(best - scores.begin()));
    }
  }
}

TEST(Policies, BinpackFillsAndSpreadEmpties) {
  Cluster cluster;
  for (const char* name : {"a", "b", "c"}) ASSERT_TRUE(cluster.put_node(machine(name, 2)));
  const ShapeId half = shape_of(cluster, 500);
  const auto pack = policy("binpack");
  EXPECT_EQ(place(cluster, *pack, half).spot, (Spot{0, 0b01, {}}));
  EXPECT_EQ(place(cluster, *pack, half).spot, (Spot{0, 0b01, {}}));
  EXPECT_EQ(place(cluster, *pack, half).spot, (Spot{0, 0b10, {}}));
  const auto spread = policy("spread");
  EXPECT_EQ(place(cluster, *spread, half).spot, (Spot{1, 0b01, {}}));
  EXPECT_EQ(place(cluster, *spread, half).spot, (Spot{2, 0b01, {}}));
  EXPECT_EQ(place(cluster, *spread, half).spot, (Spot{1, 0b10, {}}));
}

TEST(Policies, AClaimsOwnWishWins) {
  Cluster cluster;
  for (const char* name : {"a", "b"}) ASSERT_TRUE(cluster.put_node(machine(name, 2)));
  const auto pack = policy("binpack");
  place(cluster, *pack, shape_of(cluster, 500));
  EXPECT_EQ(place(cluster, *pack, shape_of(cluster, 500, 1, Prefer::Spread)).spot.node, 1u);
  EXPECT_EQ(place(cluster, *pack, shape_of(cluster, 500, 1, Prefer::Pack)).spot, (Spot{0, 0b01, {}}));
}

TEST(Policies, FgdPutsASmallClaimIntoAHoleNothingElseFits) {
  Cluster cluster;
  for (const char* name : {"a", "b"}) ASSERT_TRUE(cluster.put_node(machine(name, 1)));
  const ShapeId small = shape_of(cluster, 190);
  const ShapeId large = shape_of(cluster, 810);
  const ShapeId half = shape_of(cluster, 500);
  FgdScorer scorer;
  const std::pair<ShapeId, uint64_t> mix[] = {{half, 5}, {large, 4}, {small, 1}};
  scorer.set_typical(mix);
  IndexedPolicy<FgdScorer> fgd(std::move(scorer));
  cluster.take(cluster.spot(0, 1, half), half);
  cluster.take(cluster.spot(1, 1, large), large);
  EXPECT_EQ(place(cluster, fgd, small).spot.node, 1u) << "on a it would spoil the room for a half";
}

TEST(Policies, HamiChains) {
  Cluster cluster;
  ASSERT_TRUE(cluster.put_node(machine("a", 4)));
  ASSERT_TRUE(cluster.put_node(machine("b", 4)));
  const ShapeId small = shape_of(cluster, 100);
  const auto standard = policy("hami");
  EXPECT_EQ(place(cluster, *standard, small).spot, (Spot{0, 0b1000, {}})) << "higher NUMA node, higher index";
  EXPECT_EQ(place(cluster, *standard, small).spot, (Spot{0, 0b0100, {}}));
  EXPECT_EQ(place(cluster, *policy("hami:binpack/binpack"), small).spot, (Spot{0, 0b1000, {}}));
  EXPECT_EQ(place(cluster, *policy("hami:binpack/mutex,binpack,numa"), small).spot, (Spot{0, 0b0010, {}}));
  EXPECT_EQ(place(cluster, *policy("hami:spread/numa,spread"), small).spot, (Spot{1, 0b1000, {}}));
  const Spot pair = place(cluster, *policy("hami:spread/topology-aware"), shape_of(cluster, 500, 2)).spot;
  EXPECT_EQ(pair.node, 1u);
  EXPECT_TRUE(pair.devices == 0b0101 || pair.devices == 0b1010) << "two of one island";
}

TEST(Policies, ErrorsNameWhatIsWrong) {
  const auto error = [](PolicySettings settings) { return to_string(make_policy(settings).error()); };
  EXPECT_THAT(error({"binpak", {}}), HasSubstr("did you mean binpack?"));
  EXPECT_THAT(error({"hami:binpack", {}}), HasSubstr("two levels"));
  EXPECT_THAT(error({"hami:pack/spread", {}}), HasSubstr("node policy 'pack'"));
  EXPECT_THAT(error({"hami:binpack/mutx,numa", {}}), HasSubstr("did you mean mutex?"));
  EXPECT_THAT(error({"spread", {{"gpu", 1000}}}), HasSubstr("it has compute, memory, cpu"));
  EXPECT_THAT(error({"fgd", {{"gpu", 1000}}}), HasSubstr("takes no weights"));
  EXPECT_THAT(error({"binpack", {{"cpu", -1}}}), HasSubstr("is -1"));
}

// Whatever the policy: it places where anything fits and nowhere else, an index gives the choice of a scan, and
// `terms` answers for what was chosen.
TEST(Policies, PlaceWhereverAnythingFits) {
  for (const char* name : {"binpack", "spread", "fgd", "hami", "hami:spread/mutex,numa,binpack",
                           "hami:binpack/topology-aware"}) {
    SCOPED_TRACE(name);
    Cluster cluster;
    for (uint32_t i = 0; i < 12; ++i) {
      ASSERT_TRUE(cluster.put_node(machine("n" + std::to_string(i), 1 + i % 4, 4'000 + 3'000 * (i % 3))));
    }
    std::vector<ShapeId> shapes;
    for (const uint32_t compute : {100u, 300u, 470u, 810u, 1000u})
      shapes.push_back(shape_of(cluster, compute));
    shapes.push_back(shape_of(cluster, 500, 2));
    shapes.push_back(shape_of(cluster, 1000, 4));
    const auto indexed = policy(name);
    const std::vector<bool> all(64, true);
    std::vector<std::pair<Spot, ShapeId>> held;
    Random random(7);
    for (int round = 0; round < 3000; ++round) {
      if (!held.empty() && random.below(5) < 2) {
        const size_t which = random.below(held.size());
        cluster.give(held[which].first, held[which].second);
        held[which] = held.back();
        held.pop_back();
        continue;
      }
      const ShapeId shape = shapes[random.below(shapes.size())];
      indexed->arrived(shape);
      const auto choice = indexed->choose(cluster, shape, {});
      const auto scanned = indexed->choose(cluster, shape, {.nodes = &all});
      bool any = false;
      for (NodeIndex node = 0; node < cluster.nodes().size(); ++node) any |= cluster.fits(node, shape);
      ASSERT_EQ(choice.has_value(), any);
      ASSERT_EQ(choice.has_value(), scanned.has_value());
      if (!choice) continue;
      ASSERT_EQ(choice->spot, scanned->spot);
      ASSERT_EQ(choice->score, scanned->score);
      ASSERT_TRUE(cluster.fits(choice->spot, shape));
      ASSERT_FALSE(indexed->terms(cluster, shape, choice->spot).empty());
      cluster.take(choice->spot, shape);
      held.emplace_back(choice->spot, shape);
    }
  }
}

}  // namespace
}  // namespace tweendeck::placement

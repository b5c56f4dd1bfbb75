#include "placement/policy/fragmentation/score_table.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "placement/policy/fragmentation/test_cluster.h"

namespace tweendeck::placement::fragmentation {
namespace {

struct Entry {
  int32_t total = 0;
  uint64_t hash = 0;
  SlotId slot = 0;
};

// Nodes whose claims come and go, their states as classes, and a table of them.
class World {
 public:
  World(uint64_t seed, uint32_t kinds) : dice_(seed) {
    for (uint32_t i = 0; i < 30; ++i) {
      const uint32_t kind = i % 3;
      EXPECT_TRUE(
          cluster_.put_node(machine("n" + std::to_string(i), kind == 0 ? 8 : 2, 16'000 + 40'000 * kind)));
    }
    for (uint32_t i = 0; i < kinds; ++i) {
      const Request request =
          i % 7 == 6 ? ask(500 + 10 * i, 2 + i % 3, 1000) : ask(500 + 400 * (i % 90), 1, 100 + i % 900);
      shapes_.push_back(*cluster_.shape_id(request));
    }
    catalog_.update(cluster_);
    for (const ShapeId shape : shapes_) {
      for (uint32_t i = 0; i < 3; ++i) demand_.arrived(catalog_.kind_of(shape));
    }
    scorer_.learn(cluster_, demand_);
    for (NodeIndex node = 0; node < cluster_.nodes().size(); ++node) {
      in_.push_back(kNoClass);
      read(node);
    }
  }

  void change() {
    if (!held_.empty() && dice_.below(100) < 48) {
      const size_t which = dice_.below(static_cast<uint32_t>(held_.size()));
      const auto [spot, shape] = held_[which];
      held_.erase(held_.begin() + static_cast<ptrdiff_t>(which));
      cluster_.give(spot, shape);
      return read(spot.node);
    }
    const ShapeId shape = shapes_[dice_.below(static_cast<uint32_t>(shapes_.size()))];
    const auto node = static_cast<NodeIndex>(dice_.below(30));
    const uint16_t fitting = cluster_.fitting_devices(node, shape);
    if (fitting == 0) return;
    uint32_t devices = 0;
    uint32_t rest = fitting;
    for (uint32_t i = 0; i < cluster_.shape(shape).request.devices; ++i, rest &= rest - 1)
      devices |= rest & -rest;
    const Spot spot = cluster_.spot(node, static_cast<uint16_t>(devices), shape);
    cluster_.take(spot, shape);
    held_.push_back({spot, shape});
    read(node);
  }

  void change_prices() {
    scorer_.reservation().refresh(demand_, dice_.below(300'000), 100'000);
    ++epoch_;
  }

  // The table's order of places for some kind is that of sorting all live classes.
  void compare() {
    const KindId kind =
        catalog_.kinds()[catalog_.kind_of(shapes_[dice_.below(static_cast<uint32_t>(shapes_.size()))])]
            .priced_as;
    std::vector<Entry> expected;
    for (SlotId slot = 0; slot < classes_.slots().size(); ++slot) {
      const Live& live = classes_.slots()[slot];
      if (live.id == kNoClass || live.max_cpu_milli < static_cast<int32_t>(scorer_.least_cpu(kind))) continue;
      const Score score = scorer_.score(classes_[live.id].state, classes_[live.id].worth, kind);
      if (score.fixed == Score::kNowhere) continue;
      expected.push_back({scorer_.total(score, live.type, kind), live.hash, slot});
    }
    std::ranges::sort(expected, [](const Entry& a, const Entry& b) {
      return a.total != b.total ? a.total > b.total : a.hash < b.hash;
    });
    table_.follow(classes_, scorer_, epoch_);
    ScoreTable::Place place = ScoreTable::kBeforeAll;
    for (const Entry& entry : expected) {
      place = table_.best(classes_, scorer_, kind, {}, place);
      ASSERT_EQ(place.slot, entry.slot);
      ASSERT_EQ(place.score, entry.total);
      ASSERT_EQ(table_.score(place.slot, kind), entry.total);
    }
    ASSERT_EQ(table_.best(classes_, scorer_, kind, {}, place).slot, ScoreTable::Place::kNone);
  }

  Dice& dice() { return dice_; }

 private:
  void read(NodeIndex node) {
    const NodeState& now = cluster_.nodes()[node];
    const ClassId in = classes_.find(scorer_.grid().state_of(catalog_, cluster_, now), scorer_);
    if (in == in_[node]) return classes_.stay(in, now);
    if (in_[node] != kNoClass) classes_.leave(in_[node], node);
    classes_.enter(in, node, now);
    in_[node] = in;
  }

  Dice dice_;
  Cluster cluster_;
  Catalog catalog_;
  Demand demand_;
  Scorer scorer_{catalog_};
  Classes classes_;
  ScoreTable table_;
  uint64_t epoch_ = 0;
  std::vector<ShapeId> shapes_;
  std::vector<ClassId> in_;
  std::vector<std::pair<Spot, ShapeId>> held_;
};

TEST(ScoreTable, OrdersPlacesAsSortingDoes) {
  World world(1, 25);
  for (int i = 0; i < 3000; ++i) {
    for (uint32_t n = world.dice().below(6); n > 0; --n) world.change();
    if (i % 40 == 39) world.change_prices();
    ASSERT_NO_FATAL_FAILURE(world.compare()) << i;
  }
}

TEST(ScoreTable, KindsBeyondItsColumnsAreFilledInAgain) {
  World world(2, 2 * kMaxColumns);
  for (int i = 0; i < 1500; ++i) {
    world.change();
    ASSERT_NO_FATAL_FAILURE(world.compare()) << i;
  }
}

}  // namespace
}  // namespace tweendeck::placement::fragmentation

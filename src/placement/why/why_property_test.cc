// The one-pass board and the sets of holders against looking at every node and every set.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <set>

#include "base/clock.h"
#include "placement/why/report.h"

namespace tweendeck::placement {
namespace {

constexpr uint64_t kCases = 3'000;
constexpr uint64_t kMiB = 1ull << 20;

struct World {
  Cluster cluster;
  std::vector<Holder> holders;
};

// Sizes are odd numbers of bytes at times, so that units round.
uint64_t some_memory(Random& random) {
  const uint64_t whole = random.below(5) * 10 * 1024 * kMiB;
  switch (random.below(4)) {
    case 0:
      return whole + random.below(4);
    case 1:
      return whole + random.below(40) * 64 * 1024;
    default:
      return whole;
  }
}

NodeFacts random_node(Random& random, const std::string& name) {
  NodeFacts node;
  node.name = name;
  node.cpu_milli = static_cast<uint32_t>(8000 + random.below(3) * 4000);
  node.memory_bytes = 64 * 1024 * kMiB;
  node.cordoned = random.below(8) == 0;
  const uint64_t devices = random.below(6);
  const bool cut = random.below(4) == 0;  // all devices alike, as in most machines
  for (uint64_t i = 0; i < devices; ++i) {
    DeviceFacts device;
    device.id = name + "-" + std::to_string(i);
    device.vendor = "NVIDIA";
    device.model = random.below(6) == 0 ? "A10" : "H100";
    device.memory_bytes = 40 * 1024 * kMiB + random.below(2);
    device.healthy = random.below(10) != 0;
    device.cordoned = random.below(14) == 0;
    device.isolation = random.below(8) == 0 ? Isolation::None : Isolation::Library;
    device.numa_node = static_cast<int32_t>(i / 2);
    if (random.below(3) > 0) device.link_island = static_cast<int32_t>(random.below(2));
    device.max_claims = static_cast<uint16_t>(random.below(6) == 0 ? 1 : 9);
    if (cut || random.below(12) == 0) {
      device.partitions = {{"small", 5 * 1024 * kMiB, 140, 1, 0b01111111},
                           {"half", 20 * 1024 * kMiB, 420, 4, 0b00010001}};
    }
    node.devices.push_back(device);
  }
  return node;
}

Request random_request(Random& random) {
  Request request;
  request.cpu_milli = static_cast<uint32_t>(random.below(4) * 2000);
  request.node_memory_bytes = random.below(5) == 0 ? 40 * 1024 * kMiB : 0;
  request.devices = static_cast<uint32_t>(random.below(4));
  if (request.devices == 0) return request;
  request.compute_permille = static_cast<uint32_t>(100 + random.below(10) * 100);
  request.memory_bytes = some_memory(random);
  if (random.below(6) == 0) request.memory_percent = 50;
  request.exclusive = random.below(8) == 0;
  if (random.below(10) == 0) request.prefer = Prefer::Mutex;
  if (random.below(8) == 0) request.partition = random.below(2) == 0 ? "small" : "half";
  if (random.below(6) == 0) request.models = {"H100"};
  if (random.below(10) == 0) request.device_ids = {"n0-0", "n1-0", "n1-1", "gone"};
  if (random.below(8) == 0) request.min_isolation = Isolation::Library;
  if (random.below(4) == 0) request.near = random.below(2) == 0 ? Near::SameNuma : Near::SameIsland;
  request.near_required = random.below(5) != 0;
  if (random.below(12) == 0) request.conditions = {{"tier", Condition::Op::Exists, {}}};
  return request;
}

ShapeId shape_of(Cluster& cluster, const Request& request) {
  return cluster.shape_id(request).value();
}

// Takes claims where they fit until none of some tries does.
void fill(World& world, Random& random, uint64_t claims) {
  for (uint64_t i = 0; i < claims; ++i) {
    Request request = random_request(random);
    request.device_ids.clear();
    const ShapeId shape = shape_of(world.cluster, request);
    const auto node = static_cast<NodeIndex>(random.below(world.cluster.nodes().size()));
    if (!world.cluster.fits(node, shape)) continue;
    uint16_t devices = 0;
    const uint16_t fitting = world.cluster.fitting_devices(node, shape);
    for (uint32_t set = fitting; set != 0; set = (set - 1) & fitting) {
      const auto bits = static_cast<uint16_t>(set);
      if (std::popcount(bits) != static_cast<int>(request.devices)) continue;
      if (world.cluster.fits(world.cluster.spot(node, bits, shape), shape)) devices = bits;
    }
    if (request.devices > 0 && devices == 0) continue;
    const Spot spot = world.cluster.spot(node, devices, shape);
    world.cluster.take(spot, shape);
    world.holders.push_back(
        {"c" + std::to_string(i), static_cast<int32_t>(random.below(2)), {{spot, shape}}});
  }
}

Tally slow_tally(const Cluster& cluster, ShapeId shape) {
  Tally tally;
  for (NodeIndex node = 0; node < cluster.nodes().size(); ++node) {
    if (!cluster.nodes()[node].present) continue;
    const Judgement judgement = judge(cluster, node, shape);
    EXPECT_EQ(judgement.reason == Reason::None, cluster.fits(node, shape));
    ++tally.nodes[static_cast<size_t>(judgement.reason)];
    tally.devices[static_cast<size_t>(judgement.reason)] += cluster.nodes()[node].device_count;
    if (judgement.reason != Reason::None) tally.nearest = std::min(tally.nearest, judgement.nearness);
  }
  return tally;
}

void check_tally(Board& board, const Cluster& cluster, ShapeId shape) {
  const Tally fast = board.tally(cluster, shape);
  const Tally slow = slow_tally(cluster, shape);
  EXPECT_EQ(fast.nodes, slow.nodes);
  EXPECT_EQ(fast.devices, slow.devices);
  EXPECT_EQ(fast.nearest, slow.nearest) << "node " << fast.nearest.node << ", not " << slow.nearest.node;
}

TEST(WhyProperties, OnePassIsJudgingEveryNodeWhileTheClusterChanges) {
  std::set<Reason> seen;
  for (uint64_t seed = 1; seed <= kCases && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Random random(seed);
    World world;
    const uint64_t nodes = 1 + random.below(12);
    for (uint64_t i = 0; i < nodes; ++i) {
      ASSERT_TRUE(world.cluster.put_node(random_node(random, "n" + std::to_string(i))));
    }
    Board board;
    for (int round = 0; round < 4; ++round) {
      fill(world, random, random.below(12));
      for (int ask = 0; ask < 3; ++ask) {
        const ShapeId shape = shape_of(world.cluster, random_request(random));
        check_tally(board, world.cluster, shape);
        for (NodeIndex node = 0; node < nodes; ++node) seen.insert(judge(world.cluster, node, shape).reason);
      }
      const std::string changed = "n" + std::to_string(random.below(nodes));
      if (random.below(3) == 0) (void)world.cluster.set_cordon(changed, random.below(2) == 0);
      for (const char* device : {"-0", "-1"}) {
        if (random.below(4) == 0)
          (void)world.cluster.set_device_health(changed + device, random.below(2) == 0);
      }
      if (random.below(8) == 0) (void)world.cluster.set_device_cordon(changed + "-0", random.below(2) == 0);
      if (!world.holders.empty() && random.below(3) == 0) {
        const Holder::Held gone = world.holders.back().held.front();
        world.cluster.give(gone.spot, gone.shape);
        world.holders.pop_back();
      }
      if (random.below(6) == 0) (void)world.cluster.remove_node(changed);
      const bool bare = world.cluster.find_node(changed) == kNoNode;
      if (bare && random.below(2) == 0) (void)world.cluster.put_node(random_node(random, changed));
    }
  }
  EXPECT_GE(seen.size(), 14u) << "the cases show too few reasons";
}

// Several chunks of rows per type, and kinds of rows side by side.
TEST(WhyProperties, OnePassIsJudgingEveryNodeOfMany) {
  constexpr uint64_t kNodes = 1'500;
  for (uint64_t seed = 1; seed <= 12 && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Random random(seed);
    World world;
    std::vector<NodeFacts> kinds;
    for (int i = 0; i < 3; ++i) kinds.push_back(random_node(random, "kind"));
    for (uint64_t i = 0; i < kNodes; ++i) {
      NodeFacts node = kinds[random.below(kinds.size())];
      node.name = "n" + std::to_string(i);
      node.cordoned = random.below(50) == 0;
      for (size_t device = 0; device < node.devices.size(); ++device) {
        node.devices[device].id = node.name + "-" + std::to_string(device);
        node.devices[device].healthy = random.below(40) != 0;
        node.devices[device].cordoned = random.below(200) == 0;
      }
      ASSERT_TRUE(world.cluster.put_node(node));
    }
    Board board;
    for (int round = 0; round < 3; ++round) {
      fill(world, random, 4 * kNodes);
      for (int ask = 0; ask < 8; ++ask)
        check_tally(board, world.cluster, shape_of(world.cluster, random_request(random)));
    }
  }
}

// Whether a claim fits on the node without some holders; the size of the smallest such set, 0 when there is none.
size_t fewest_by_trying(Cluster& cluster, const std::vector<Holder>& holders, const Range& range,
                        ShapeId shape, uint32_t count) {
  size_t best = 0;
  for (uint32_t set = 1; set < (1u << holders.size()); ++set) {
    const auto size = static_cast<size_t>(std::popcount(set));
    if (best != 0 && size >= best) continue;
    const Cluster::Mark mark = cluster.mark();
    for (size_t i = 0; i < holders.size(); ++i) {
      if ((set >> i & 1) == 0) continue;
      for (const Holder::Held& held : holders[i].held) cluster.give(held.spot, held.shape);
    }
    if (cluster.slots(range.node, shape, count) == count) best = size;
    cluster.undo_to(mark);
  }
  return best;
}

TEST(WhyProperties, TheFewestHoldersAreTheFewest) {
  uint64_t found = 0;
  for (uint64_t seed = 1; seed <= kCases && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Random random(seed);
    World world;
    ASSERT_TRUE(world.cluster.put_node(random_node(random, "n0")));
    fill(world, random, 9);
    const ShapeId shape = shape_of(world.cluster, random_request(random));
    const auto count = static_cast<uint32_t>(1 + random.below(2));
    if (world.cluster.slots(0, shape, count) == count) continue;
    const uint64_t before = world.cluster.hash();
    const std::vector<Range> here{{0, count}};
    const EndSet ends = fewest_ends(world.cluster, shape, count, here, world.holders);
    EXPECT_EQ(world.cluster.hash(), before);
    EXPECT_TRUE(ends.fewest || ends.names.empty());
    EXPECT_EQ(ends.names.size(), fewest_by_trying(world.cluster, world.holders, here.front(), shape, count));
    found += !ends.names.empty();
  }
  EXPECT_GT(found, kCases / 60);
}

TEST(WhyProperties, WhatIsLackingIsExactlyWhatLacks) {
  uint64_t checked = 0;
  for (uint64_t seed = 1; seed <= kCases && !testing::Test::HasFailure(); ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Random random(seed);
    World world;
    ASSERT_TRUE(world.cluster.put_node(random_node(random, "n0")));
    fill(world, random, 9);
    Request request = random_request(random);
    if (request.devices != 1 || request.memory_percent > 0) continue;
    const Judgement judgement = judge(world.cluster, 0, shape_of(world.cluster, request));
    const bool room =
        judgement.reason == Reason::InsufficientMemory || judgement.reason == Reason::InsufficientCompute;
    if (!room) continue;
    const DeviceFacts& device = world.cluster.facts(0).devices[judgement.lacks[0].device];
    request.memory_bytes -= judgement.lacks[0].memory_bytes;
    request.compute_permille -= judgement.lacks[0].compute_permille;
    request.cpu_milli = 0;
    request.node_memory_bytes = 0;
    request.device_ids = {device.id};
    if (!device.partitions.empty() || (request.memory_bytes == 0 && request.compute_permille == 0)) continue;
    EXPECT_TRUE(world.cluster.fits(0, shape_of(world.cluster, request)));
    ++checked;
  }
  EXPECT_GT(checked, kCases / 50);
}

}  // namespace
}  // namespace tweendeck::placement

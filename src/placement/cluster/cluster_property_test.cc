// Random small clusters against a slow, obvious reference: it keeps the list of facts and of held claims, works out
// what is free from those each time, and finds feasibility and slots by trying every set of devices and every start
// of every partition. Sizes: 10^5 cases, 10^4 in debug builds (sanitizers), 10^6 with TWEENDECK_SOAK.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <map>

#include "base/clock.h"
#include "placement/cluster/cluster.h"
#include "placement/cluster/reference_testing.h"

namespace tweendeck::placement {
namespace {

using namespace reference;

constexpr uint32_t kSlotLimit = 4;

uint64_t cases() {
  if (std::getenv("TWEENDECK_SOAK") != nullptr) return 1'000'000;
#ifdef NDEBUG
  return 100'000;
#else
  return 10'000;
#endif
}

void check_node(const Cluster& cluster, NodeIndex index, const NodeFacts& facts,
                const std::vector<Held>& held, ShapeId shape) {
  const Node node = rebuild(facts, index, held);
  const NodeState& state = cluster.nodes()[index];
  ASSERT_EQ(state.cpu_free_milli, node.cpu);
  ASSERT_EQ(state.memory_free_bytes, node.memory);
  for (size_t i = 0; i < node.devices.size(); ++i) {
    ASSERT_EQ(state.memory_free[i], node.devices[i].memory);
    ASSERT_EQ(state.compute_free[i], node.devices[i].compute);
    ASSERT_EQ(state.claims[i], node.devices[i].claims);
    ASSERT_EQ(state.whole >> i & 1, node.devices[i].claims == 0 ? 1 : 0);
  }
  const Request& request = cluster.shape(shape).request;
  const bool fits = fits_times(node, request, 1);
  ASSERT_EQ(cluster.fits(index, shape), fits);
  uint32_t slots = 0;
  while (slots < kSlotLimit && fits_times(node, request, slots + 1)) ++slots;
  ASSERT_EQ(cluster.slots(index, shape, kSlotLimit), slots);
}

// Takes a random one of the spots that fit, or nothing.
std::optional<Spot> random_spot(Random& random, const Node& node, NodeIndex index, const Request& request) {
  std::vector<Spot> spots;
  any_spot(node, request, [&](const Spot& spot) {
    spots.push_back(spot);
    return spots.size() == 64;
  });
  if (spots.empty()) return std::nullopt;
  Spot spot = spots[random.below(spots.size())];
  spot.node = index;
  return spot;
}

void run_case(uint64_t seed) {
  Random random(seed);
  Cluster cluster;
  std::vector<NodeFacts> facts;
  const uint64_t nodes = 1 + random.below(2);
  for (uint64_t i = 0; i < nodes; ++i) {
    facts.push_back(random_node(random, static_cast<int>(i)));
    ASSERT_EQ(cluster.put_node(facts.back()).value(), i);
  }
  std::vector<Held> held;
  for (int step = 0; step < 6; ++step) {
    const auto index = static_cast<NodeIndex>(random.below(nodes));
    const uint64_t what = random.below(8);
    if (what == 0 && !held.empty()) {
      const size_t which = random.below(held.size());
      cluster.give(held[which].spot, held[which].shape);
      held.erase(held.begin() + static_cast<ptrdiff_t>(which));
    } else if (what == 1) {  // health, cordon and capacity change in place
      NodeFacts changed = facts[index];
      changed.cpu_milli = static_cast<uint32_t>(random.below(8));
      for (DeviceFacts& device : changed.devices) {
        device.healthy = random.below(6) != 0;
        if (device.partitions.empty()) device.memory_bytes = 100 * (1 + random.below(4));
      }
      ASSERT_TRUE(cluster.put_node(changed));
      facts[index] = changed;
    }
    const ShapeId shape = cluster.shape_id(random_request(random)).value();
    for (NodeIndex i = 0; i < nodes; ++i)
      ASSERT_NO_FATAL_FAILURE(check_node(cluster, i, facts[i], held, shape));
    const Node node = rebuild(facts[index], index, held);
    const auto spot = random_spot(random, node, index, cluster.shape(shape).request);
    ASSERT_EQ(spot.has_value(), cluster.fits(index, shape));
    if (!spot) continue;
    ASSERT_TRUE(cluster.fits(*spot, shape));
    const uint64_t before = cluster.hash();
    const Cluster::Mark mark = cluster.mark();
    cluster.take(*spot, shape);
    if (random.below(4) == 0) {
      cluster.undo_to(mark);
      ASSERT_EQ(cluster.hash(), before);
      continue;
    }
    cluster.commit(mark);
    held.push_back({*spot, shape, cluster.shape(shape).request});
  }
  for (const Held& claim : held) cluster.give(claim.spot, claim.shape);
  for (NodeIndex i = 0; i < nodes; ++i) {
    Cluster fresh;
    ASSERT_TRUE(fresh.put_node(facts[i]));
    ASSERT_NO_FATAL_FAILURE(check_node(cluster, i, facts[i], {}, cluster.shape_id(Request{}).value()));
  }
}

TEST(ClusterProperty, AgreesWithTryingEverything) {
  for (uint64_t seed = 0; seed < cases(); ++seed) {
    run_case(seed);
    if (testing::Test::HasFatalFailure()) FAIL() << "seed " << seed;
  }
}

// What `slots` promises comes true when each claim takes the devices with room for most more, partitions included.
TEST(ClusterProperty, SlotsComeTrueForSingleDevices) {
  for (uint64_t seed = 0; seed < cases() / 10; ++seed) {
    Random random(seed);
    Cluster cluster;
    ASSERT_TRUE(cluster.put_node(random_node(random, 0)));
    Request request = random_request(random);
    if (request.devices > 0) request.devices = 1;
    const ShapeId shape = cluster.shape_id(request).value();
    for (uint32_t slots = cluster.slots(0, shape, kSlotLimit); slots > 0; --slots) {
      ASSERT_EQ(cluster.slots(0, shape, slots), slots) << "seed " << seed;
      const uint16_t fitting = cluster.fitting_devices(0, shape);
      const auto lowest = static_cast<uint16_t>(fitting & -fitting);
      cluster.take(cluster.spot(0, lowest, shape), shape);
    }
  }
}

}  // namespace
}  // namespace tweendeck::placement

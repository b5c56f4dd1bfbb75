#include "placement/cluster/cluster.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>

namespace tweendeck::placement {
namespace {

using ::testing::HasSubstr;

constexpr uint64_t kGiB = 1ull << 30;

NodeFacts machine(const std::string& name, uint32_t devices) {
  NodeFacts node;
  node.name = name;
  node.cpu_milli = 64'000;
  node.memory_bytes = 512 * kGiB;
  for (uint32_t i = 0; i < devices; ++i) {
    DeviceFacts device;
    device.id = name + "-gpu" + std::to_string(i);
    device.vendor = "NVIDIA";
    device.model = "H100";
    device.memory_bytes = 80 * kGiB;
    device.numa_node = static_cast<int32_t>(i * 2 / devices);
    node.devices.push_back(device);
  }
  return node;
}

// The profiles of an A100-40GB as NVIDIA's MIG user guide lists them.
std::vector<PartitionProfile> a100_profiles() {
  return {{"1g.5gb", 5 * kGiB, 142, 1, 0b01111111},
          {"2g.10gb", 10 * kGiB, 285, 2, 0b00010101},
          {"3g.20gb", 20 * kGiB, 428, 4, 0b00010001},
          {"4g.20gb", 20 * kGiB, 571, 4, 0b00000001},
          {"7g.40gb", 40 * kGiB, 1000, 8, 0b00000001}};
}

NodeFacts mig_machine(const std::string& name, uint32_t devices) {
  NodeFacts node = machine(name, devices);
  for (DeviceFacts& device : node.devices) {
    device.memory_bytes = 40 * kGiB;
    device.model = "A100";
    device.isolation = Isolation::Hardware;
    device.partitions = a100_profiles();
  }
  return node;
}

Request share(uint64_t memory, uint32_t compute, uint32_t devices = 1) {
  Request request;
  request.cpu_milli = 1000;
  request.devices = devices;
  request.memory_bytes = memory;
  request.compute_permille = compute;
  return request;
}

Request partition(const std::string& name) {
  Request request;
  request.devices = 1;
  request.partition = name;
  return request;
}

ShapeId shape_of(Cluster& cluster, const Request& request) {
  const Result<ShapeId> id = cluster.shape_id(request);
  EXPECT_TRUE(id) << to_string(id.error());
  return id.value_or(0);
}

NodeIndex put(Cluster& cluster, const NodeFacts& facts) {
  const Result<NodeIndex> node = cluster.put_node(facts);
  EXPECT_TRUE(node) << to_string(node.error());
  return node.value_or(kNoNode);
}

Spot at(NodeIndex node, uint16_t devices) {
  Spot spot;
  spot.node = node;
  spot.devices = devices;
  return spot;
}

Spot take_on(Cluster& cluster, NodeIndex node, uint16_t devices, ShapeId shape) {
  const Spot spot = cluster.spot(node, devices, shape);
  cluster.take(spot, shape);
  return spot;
}

TEST(Cluster, MemoryAndComputeAreSeparate) {
  Cluster cluster;
  const NodeIndex node = put(cluster, machine("a", 2));
  const ShapeId half = shape_of(cluster, share(10 * kGiB, 500));
  const ShapeId wide = shape_of(cluster, share(60 * kGiB, 100));
  EXPECT_EQ(cluster.fitting_devices(node, half), 0b11);
  take_on(cluster, node, 0b01, half);
  take_on(cluster, node, 0b01, half);
  EXPECT_EQ(cluster.fitting_devices(node, half), 0b10) << "no compute left on the first";
  take_on(cluster, node, 0b10, wide);
  EXPECT_EQ(cluster.fitting_devices(node, wide), 0);
  EXPECT_EQ(cluster.slots(node, half, 100), 1u);
  EXPECT_EQ(cluster.nodes()[node].cpu_free_milli, 61'000);
}

TEST(Cluster, EqualRequestsHaveOneShapeAndEqualMachinesOneType) {
  Cluster cluster;
  put(cluster, machine("a", 2));
  put(cluster, machine("b", 2));
  put(cluster, machine("c", 4));
  EXPECT_EQ(cluster.types().size(), 2u);
  EXPECT_EQ(cluster.types()[0].nodes, 2u);
  Request ab = share(1, 0);
  ab.models = {"A", "B", "A"};
  Request ba = ab;
  ba.models = {"B", "A"};
  EXPECT_EQ(shape_of(cluster, ab), shape_of(cluster, ba));
}

TEST(Cluster, SelectorsLookAtDeviceBeforeNode) {
  Cluster cluster;
  NodeFacts facts = machine("a", 2);
  facts.attributes = {{"tier", "3"}, {"pool", "x"}};
  facts.devices[1].attributes = {{"tier", "9"}};
  const NodeIndex node = put(cluster, facts);
  using Op = Condition::Op;
  const auto fitting = [&](Condition condition) {
    Request request = share(1, 0);
    request.conditions = {std::move(condition)};
    return cluster.fitting_devices(node, shape_of(cluster, request));
  };
  EXPECT_EQ(fitting({"tier", Op::AtLeast, {"4"}}), 0b10);
  EXPECT_EQ(fitting({"tier", Op::AtMost, {"4"}}), 0b01);
  EXPECT_EQ(fitting({"pool", Op::In, {"x", "y"}}), 0b11);
  EXPECT_EQ(fitting({"pool", Op::AtLeast, {"1"}}), 0) << "not an integer";
  EXPECT_EQ(fitting({"zone", Op::NotIn, {"x"}}), 0b11) << "absent is not in the list";
  EXPECT_EQ(fitting({"zone", Op::Exists, {}}), 0);
  EXPECT_EQ(fitting({"zone", Op::Absent, {}}), 0b11);
}

TEST(Cluster, NearnessIsPartOfFeasibility) {
  Cluster cluster;
  const NodeIndex node = put(cluster, machine("a", 4));  // NUMA 0: devices 0 and 1, NUMA 1: 2 and 3
  Request request = share(1, 1000, 2);
  request.near = Near::SameNuma;
  const ShapeId near = shape_of(cluster, request);
  request.near = Near::SameIsland;
  const ShapeId island = shape_of(cluster, request);
  request.near_required = false;
  const ShapeId preferred = shape_of(cluster, request);
  EXPECT_EQ(cluster.slots(node, near, 9), 2u);
  EXPECT_FALSE(cluster.fits(node, island)) << "unknown islands are near nothing";
  EXPECT_TRUE(cluster.fits(node, preferred));
  const ShapeId one = shape_of(cluster, share(1, 1000));
  take_on(cluster, node, 0b0001, one);
  take_on(cluster, node, 0b0100, one);
  EXPECT_EQ(cluster.fitting_devices(node, near), 0b1010);
  EXPECT_FALSE(cluster.fits(node, near));
  EXPECT_FALSE(cluster.fits(Spot{node, 0b1010, {}}, near));
}

TEST(Cluster, ExclusiveAndMutex) {
  Cluster cluster;
  const NodeIndex node = put(cluster, machine("a", 2));
  const ShapeId small = shape_of(cluster, share(1, 10));
  Request request = share(1, 10);
  request.exclusive = true;
  const ShapeId alone = shape_of(cluster, request);
  request.exclusive = false;
  request.prefer = Prefer::Mutex;
  const ShapeId mutex = shape_of(cluster, request);
  const Spot first = take_on(cluster, node, 0b01, alone);
  EXPECT_EQ(cluster.fitting_devices(node, small), 0b10);
  take_on(cluster, node, 0b10, mutex);
  EXPECT_EQ(cluster.fitting_devices(node, small), 0b10) << "others may join a mutex claim";
  EXPECT_EQ(cluster.fitting_devices(node, mutex), 0);
  cluster.give(first, alone);
  EXPECT_EQ(cluster.fitting_devices(node, mutex), 0b01);
}

TEST(Cluster, PartitionsKeepTheMostOptions) {
  Cluster cluster;
  const NodeIndex node = put(cluster, mig_machine("a", 1));
  const ShapeId one = shape_of(cluster, partition("1g.5gb"));
  const ShapeId three = shape_of(cluster, partition("3g.20gb"));
  const ShapeId four = shape_of(cluster, partition("4g.20gb"));
  EXPECT_EQ(cluster.slots(node, one, 99), 7u);
  EXPECT_EQ(cluster.slots(node, three, 99), 2u);
  const Spot small = take_on(cluster, node, 1, one);
  EXPECT_EQ(small.partition_starts[0], 6) << "keeps 4g.20gb possible";
  take_on(cluster, node, 1, four);
  EXPECT_EQ(cluster.slots(node, one, 99), 2u);
  EXPECT_FALSE(cluster.fits(node, three));
  cluster.give(small, one);
  EXPECT_TRUE(cluster.fits(node, three));
}

TEST(Cluster, ARequestWithoutPartitionTakesTheSmallestThatHoldsIt) {
  Cluster cluster;
  const NodeIndex node = put(cluster, mig_machine("a", 1));
  const ShapeId eight = shape_of(cluster, share(8 * kGiB, 0));
  EXPECT_EQ(cluster.slice_size(0, eight, 0).memory_bytes, 10 * kGiB);
  take_on(cluster, node, 1, eight);
  EXPECT_EQ(std::popcount(cluster.nodes()[node].partition_slots[0]), 2);
  EXPECT_EQ(cluster.slots(node, eight, 9), 2u);
  EXPECT_EQ(cluster.allowed_devices(0, shape_of(cluster, share(41 * kGiB, 0))), 0);
}

TEST(Cluster, SlotsOfManyDevices) {
  Cluster cluster;
  const NodeIndex node = put(cluster, machine("a", 4));
  const ShapeId whole = shape_of(cluster, share(1, 1000));
  const ShapeId pair = shape_of(cluster, share(1, 250, 2));
  EXPECT_EQ(cluster.slots(node, pair, 99), 8u);
  take_on(cluster, node, 0b0001, whole);
  take_on(cluster, node, 0b0010, whole);
  EXPECT_EQ(cluster.slots(node, pair, 99), 4u);
  const ShapeId half = shape_of(cluster, share(1, 500));
  take_on(cluster, node, 0b0100, half);
  EXPECT_EQ(cluster.slots(node, pair, 99), 2u) << "the fuller device bounds how often a pair fits";
  EXPECT_EQ(cluster.slots(node, pair, 1), 1u);
}

TEST(Cluster, NodesChangeInPlaceAndKeepWhatIsHeld) {
  Cluster cluster;
  NodeFacts facts = machine("a", 2);
  const NodeIndex node = put(cluster, facts);
  Request request = share(0, 100);
  request.memory_percent = 50;
  const ShapeId half = shape_of(cluster, request);
  const ShapeId bytes = shape_of(cluster, share(20 * kGiB, 100));
  const Spot percent_spot = take_on(cluster, node, 0b01, half);
  const Spot bytes_spot = take_on(cluster, node, 0b01, bytes);
  facts.devices[0].memory_bytes = 30 * kGiB;
  std::swap(facts.devices[0], facts.devices[1]);
  EXPECT_EQ(put(cluster, facts), node);
  EXPECT_LT(cluster.nodes()[node].memory_free[0], 0) << "20 GiB and half of 30 GiB on 30 GiB";
  EXPECT_EQ(cluster.nodes()[node].usable, 0b10);
  cluster.give(bytes_spot, bytes);
  EXPECT_EQ(cluster.nodes()[node].usable, 0b11);
  facts.devices.erase(facts.devices.begin() + 1);
  put(cluster, facts);
  EXPECT_EQ(cluster.nodes()[node].usable, 0b10) << "the device went, its claim is still there";
  facts.devices.push_back(machine("new", 1).devices[0]);
  put(cluster, facts);
  EXPECT_EQ(cluster.nodes()[node].usable, 0b110);
  cluster.give(percent_spot, half);
  put(cluster, facts);
  EXPECT_EQ(cluster.nodes()[node].memory_free[0], static_cast<int64_t>(80 * kGiB));
  EXPECT_EQ(cluster.nodes()[node].device_count, 2);
}

TEST(Cluster, AGoneNodesIndexWaitsForItsClaims) {
  Cluster cluster;
  const NodeIndex a = put(cluster, machine("a", 1));
  const ShapeId half = shape_of(cluster, share(1, 500));
  const Spot spot = take_on(cluster, a, 1, half);
  ASSERT_TRUE(cluster.remove_node("a"));
  EXPECT_EQ(cluster.remove_node("a").error().reason, Reason::NotFound);
  EXPECT_EQ(cluster.find_node("a"), kNoNode);
  EXPECT_FALSE(cluster.fits(a, half));
  EXPECT_EQ(put(cluster, machine("b", 1)), 1u);
  EXPECT_EQ(put(cluster, machine("a", 1)), a) << "back under its name, with its claim";
  EXPECT_EQ(cluster.slots(a, half, 9), 1u);
  ASSERT_TRUE(cluster.remove_node("a"));
  cluster.give(spot, half);
  EXPECT_EQ(put(cluster, machine("c", 1)), a);
  EXPECT_EQ(cluster.slots(a, half, 9), 2u);
}

TEST(Cluster, HealthAndCordon) {
  Cluster cluster;
  const NodeIndex a = put(cluster, machine("a", 2));
  const ShapeId half = shape_of(cluster, share(1, 500));
  Request cpu;
  cpu.cpu_milli = 1;
  const ShapeId host = shape_of(cluster, cpu);
  ASSERT_TRUE(cluster.set_device_health("a-gpu0", false));
  EXPECT_EQ(cluster.fitting_devices(a, half), 0b10);
  ASSERT_TRUE(cluster.set_device_cordon("a-gpu1", true));
  EXPECT_EQ(cluster.fitting_devices(a, half), 0);
  EXPECT_TRUE(cluster.fits(a, host));
  ASSERT_TRUE(cluster.set_cordon("a", true));
  EXPECT_FALSE(cluster.fits(a, host));
  EXPECT_EQ(cluster.set_device_health("nobody", true).error().reason, Reason::NotFound);
}

TEST(Cluster, NamedDevices) {
  Cluster cluster;
  put(cluster, machine("a", 2));
  Request request = share(1, 500);
  request.device_ids = {"b-gpu1", "a-gpu0"};
  const ShapeId named = shape_of(cluster, request);
  EXPECT_EQ(cluster.fitting_devices(0, named), 0b01);
  put(cluster, machine("b", 2));
  EXPECT_EQ(cluster.fitting_devices(1, named), 0b10);
  ASSERT_TRUE(cluster.remove_node("b"));
  EXPECT_EQ(cluster.fitting_devices(1, named), 0);
}

TEST(Cluster, UndoRestoresTheBook) {
  Cluster cluster;
  const NodeIndex node = put(cluster, mig_machine("a", 2));
  const ShapeId one = shape_of(cluster, partition("1g.5gb"));
  const Spot kept = take_on(cluster, node, 0b01, one);
  const uint64_t before = cluster.hash();
  const uint64_t cursor = cluster.cursor();
  const Cluster::Mark outer = cluster.mark();
  take_on(cluster, node, 0b10, one);
  const uint64_t between = cluster.hash();
  const Cluster::Mark inner = cluster.mark();
  cluster.give(kept, one);
  cluster.undo_to(inner);
  EXPECT_EQ(cluster.hash(), between);
  cluster.undo_to(outer);
  EXPECT_EQ(cluster.hash(), before);
  EXPECT_EQ(cluster.changes_since(cursor).nodes.size(), 4u);
  const Cluster::Mark mark = cluster.mark();
  cluster.give(kept, one);
  cluster.commit(mark);
  EXPECT_NE(cluster.hash(), before);
}

TEST(Cluster, TheChangeLogSaysWhatIsLost) {
  Cluster cluster;
  const NodeIndex node = put(cluster, machine("a", 1));
  const ShapeId half = shape_of(cluster, share(1, 500));
  const uint64_t start = cluster.cursor();
  const Spot spot = cluster.spot(node, 1, half);
  const auto churn = [&](size_t changes) {
    for (size_t i = 0; i < changes; i += 2) {
      cluster.take(spot, half);
      cluster.give(spot, half);
    }
  };
  churn(kChangeLog);
  EXPECT_EQ(cluster.changes_since(start).nodes.size(), kChangeLog);
  churn(kChangeLog);
  EXPECT_TRUE(cluster.changes_since(start).lost);
  EXPECT_EQ(cluster.changes_since(cluster.cursor() - kChangeLog).nodes.size(), kChangeLog);
}

TEST(Cluster, RefusesWithTheField) {
  Cluster cluster;
  const auto message = [](const auto& result) { return result ? "" : result.error().message; };
  NodeFacts facts = machine("a", 1);
  put(cluster, facts);
  facts.name = "b";
  EXPECT_THAT(message(cluster.put_node(facts)), HasSubstr("a-gpu0, which node a has"));
  EXPECT_EQ(cluster.put_node(machine("c", kMaxDevicesPerNode + 1)).error().reason, Reason::LimitExceeded);
  NodeFacts mig = mig_machine("m", 1);
  mig.devices[0].partitions[4].starts = 0b10;
  EXPECT_THAT(message(cluster.put_node(mig)), HasSubstr("'7g.40gb' would reach beyond slot 7"));
  const ShapeId one = shape_of(cluster, partition("1g.5gb"));
  const NodeIndex node = put(cluster, mig_machine("m", 1));
  take_on(cluster, node, 1, one);
  EXPECT_THAT(message(cluster.put_node(machine("m", 1))), HasSubstr("while 1 slices are on it"));
  EXPECT_THAT(message(cluster.shape_id(share(0, 0))), HasSubstr("no size"));
  EXPECT_THAT(message(cluster.shape_id(share(1, 1001))), HasSubstr("compute_permille is 1001"));
  Request request = share(1, 0);
  request.conditions = {{"tier", Condition::Op::AtLeast, {"high"}}};
  EXPECT_THAT(message(cluster.shape_id(request)), HasSubstr("no integer"));
}

TEST(ClusterDeathTest, ADoubleBookingStops) {
  Cluster cluster;
  const NodeIndex node = put(cluster, machine("a", 1));
  const ShapeId whole = shape_of(cluster, share(1, 1000));
  const Spot spot = take_on(cluster, node, 1, whole);
  EXPECT_DEATH(cluster.take(spot, whole), "does not fit");
  cluster.give(spot, whole);
  EXPECT_DEATH(cluster.give(spot, whole), "nobody holds");
}

TEST(Cluster, WhatIsKnownToBeThereIsBookedEvenWhereItDoesNotFit) {
  Cluster cluster;
  NodeFacts facts = machine("a", 2);
  facts.devices[0].healthy = false;
  facts.cordoned = true;
  const NodeIndex node = put(cluster, facts);
  const ShapeId large = shape_of(cluster, share(60 * kGiB, 400));
  const uint64_t empty = cluster.hash();
  EXPECT_FALSE(cluster.fits(at(node, 1), large));
  cluster.take_held(at(node, 1), large);
  cluster.take_held(at(node, 1), large);
  EXPECT_EQ(cluster.nodes()[node].memory_free[0], -40 * static_cast<int64_t>(kGiB));
  EXPECT_EQ(cluster.held_problem(at(node, 1), large), Reason::InsufficientCompute);
  const Cluster::Mark mark = cluster.mark();
  cluster.take_held(at(node, 2), large);
  cluster.undo_to(mark);
  facts.devices[0].healthy = true;
  facts.cordoned = false;
  put(cluster, facts);
  EXPECT_EQ(cluster.fitting_devices(node, large), 2) << "a device that holds more than it has takes nothing";
  cluster.give(at(node, 1), large);
  EXPECT_EQ(cluster.fitting_devices(node, shape_of(cluster, share(20 * kGiB, 600))), 3);
  cluster.give(at(node, 1), large);
  facts.devices[0].healthy = false;
  facts.cordoned = true;
  put(cluster, facts);
  EXPECT_EQ(cluster.hash(), empty);
}

TEST(Cluster, WhatCannotBeThereIsNotBooked) {
  Cluster cluster;
  const NodeIndex node = put(cluster, machine("a", 1));
  const NodeIndex mig = put(cluster, mig_machine("m", 1));
  const NodeIndex gone = put(cluster, machine("g", 1));
  EXPECT_TRUE(cluster.remove_node("g"));
  const ShapeId half = shape_of(cluster, share(kGiB, 500));
  Request request = share(kGiB, 0);
  request.exclusive = true;
  const ShapeId alone = shape_of(cluster, request);
  EXPECT_EQ(cluster.held_problem(at(gone, 1), half), Reason::NotFound);
  EXPECT_EQ(cluster.held_problem(at(7, 1), half), Reason::NotFound);
  EXPECT_EQ(cluster.held_problem(at(node, 2), half), Reason::NotFound);
  EXPECT_EQ(cluster.held_problem(at(node, 0), half), Reason::InvalidArgument);
  cluster.take_held(at(node, 1), half);
  EXPECT_EQ(cluster.held_problem(at(node, 1), alone), Reason::DeviceHeld);
  cluster.give(at(node, 1), half);
  cluster.take_held(at(node, 1), alone);
  EXPECT_EQ(cluster.held_problem(at(node, 1), half), Reason::DeviceHeld);
  const ShapeId two = shape_of(cluster, partition("2g.10gb"));
  EXPECT_EQ(cluster.held_problem(at(node, 1), two), Reason::DeviceHeld);
  cluster.give(at(node, 1), alone);
  EXPECT_EQ(cluster.held_problem(at(node, 1), two), Reason::PartitionMismatch);
  EXPECT_EQ(cluster.held_problem(at(mig, 1), shape_of(cluster, partition("9g"))), Reason::PartitionMismatch);
  Spot spot = at(mig, 1);
  spot.partition_starts[0] = 1;
  EXPECT_EQ(cluster.held_problem(spot, two), Reason::InsufficientPartitions) << "none begins there";
  spot.partition_starts[0] = 2;
  cluster.take_held(spot, two);
  EXPECT_EQ(cluster.held_problem(spot, two), Reason::InsufficientPartitions);
}

}  // namespace
}  // namespace tweendeck::placement

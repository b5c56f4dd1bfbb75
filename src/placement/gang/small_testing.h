// For tests of the rooms that move many claims: small machines with everything that makes placement hard, and a policy
// that takes the first node with room.
#pragma once

#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "base/clock.h"
#include "placement/gang/devices.h"
#include "placement/policy/policy.h"

namespace tweendeck::placement::testing {

inline constexpr uint64_t kUnit = 1ull << 30;

class FirstFit final : public Policy {
 public:
  std::string_view name() const override { return "first-fit"; }
  void arrived(ShapeId) override {}
  void departed(ShapeId) override {}
  std::optional<Choice> choose(const Cluster& cluster, ShapeId shape, const Narrowing& narrowing) override {
    for (NodeIndex n = 0; n < cluster.nodes().size(); ++n) {
      if (narrowing.nodes != nullptr && !(*narrowing.nodes)[n]) continue;
      if (!cluster.fits(n, shape)) continue;
      if (cluster.shape(shape).request.devices == 0) return Choice{Spot{n, 0, {}}, 0};
      return Choice{cluster.spot(n, choose_devices(cluster, n, shape), shape), 0};
    }
    return std::nullopt;
  }
  std::vector<ScoreTerm> terms(const Cluster&, ShapeId, const Spot&) override { return {}; }
};

// Devices of 8 units of memory; islands of two.
inline NodeFacts machine(const std::string& name, uint32_t devices, const std::string& rack = "",
                         const std::string& block = "") {
  NodeFacts node;
  node.name = name;
  node.cpu_milli = 16'000;
  node.memory_bytes = 64 * kUnit;
  node.rack = rack;
  node.block = block;
  for (uint32_t i = 0; i < devices; ++i) {
    DeviceFacts device;
    device.id = name + "/" + std::to_string(i);
    device.vendor = "NVIDIA";
    device.model = "H100";
    device.memory_bytes = 8 * kUnit;
    device.numa_node = static_cast<int32_t>(i / 2);
    device.link_island = static_cast<int32_t>(i / 2);
    node.devices.push_back(device);
  }
  return node;
}

// A toy of MIG: four slots.
inline std::vector<PartitionProfile> profiles() {
  return {{"1g", 2 * kUnit, 250, 1, 0b1111},
          {"2g", 4 * kUnit, 500, 2, 0b0101},
          {"4g", 8 * kUnit, 1000, 4, 0b0001}};
}

inline Request share(uint64_t memory_units, uint32_t compute, uint32_t devices = 1,
                     uint32_t cpu_milli = 1000) {
  Request request;
  request.cpu_milli = cpu_milli;
  request.devices = devices;
  request.memory_bytes = memory_units * kUnit;
  request.compute_permille = compute;
  return request;
}

inline Request whole(uint32_t devices = 1) {
  return share(8, 1000, devices);
}

inline NodeIndex put(Cluster& cluster, const NodeFacts& facts) {
  const Result<NodeIndex> node = cluster.put_node(facts);
  EXPECT_TRUE(node) << (node ? "" : to_string(node.error()));
  return node.value_or(kNoNode);
}

inline ShapeId shape_of(Cluster& cluster, const Request& request) {
  const Result<ShapeId> id = cluster.shape_id(request);
  EXPECT_TRUE(id) << (id ? "" : to_string(id.error()));
  return id.value_or(0);
}

inline NodeFacts random_machine(Random& random, const std::string& name) {
  const std::string block = random.below(6) == 0 ? "" : "b" + std::to_string(random.below(2));
  const std::string rack = random.below(4) == 0 ? "" : block + "r" + std::to_string(random.below(2));
  NodeFacts node = machine(name, static_cast<uint32_t>(1 + random.below(3)), rack, block);
  node.cpu_milli = static_cast<uint32_t>(1000 * (2 + random.below(6)));
  for (DeviceFacts& device : node.devices) {
    if (random.below(5) == 0) device.partitions = profiles();
    if (random.below(6) == 0) device.model = "A10";
    if (random.below(8) == 0) device.max_claims = 2;
    if (random.below(12) == 0) device.healthy = false;
    if (random.below(6) == 0) device.link_island = -1;
  }
  return node;
}

inline Request random_request(Random& random) {
  Request request =
      share(1 + random.below(8), static_cast<uint32_t>(250 * random.below(5)),
            static_cast<uint32_t>(1 + random.below(2)), static_cast<uint32_t>(500 * random.below(4)));
  if (request.compute_permille > 0 && random.below(4) == 0) request.memory_bytes = 0;
  switch (random.below(12)) {
    case 0:
      request.exclusive = true;
      break;
    case 1:
      request.models = {"A10"};
      break;
    case 2:
      request = share(0, 0, 1, 500);
      request.partition = random.below(2) == 0 ? "1g" : "2g";
      break;
    case 3:
      request.near = Near::SameIsland;
      request.near_required = random.below(2) == 0;
      break;
    case 4:
      request.devices = 0;
      request.memory_bytes = 0;
      request.compute_permille = 0;
      break;
    case 5:
      request.prefer = random.below(2) == 0 ? Prefer::Mutex : Prefer::Spread;
      break;
    case 6:
      request.memory_bytes = 0;
      request.memory_percent = 50;
      break;
    default:
      break;
  }
  return request;
}

}  // namespace tweendeck::placement::testing

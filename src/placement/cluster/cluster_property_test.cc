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

namespace tweendeck::placement {
namespace {

constexpr uint32_t kSlotLimit = 4;

uint64_t cases() {
  if (std::getenv("TWEENDECK_SOAK") != nullptr) return 1'000'000;
#ifdef NDEBUG
  return 100'000;
#else
  return 10'000;
#endif
}

struct Held {
  Spot spot;
  ShapeId shape;
};

// ------------------------------------------------------------------ the reference

struct Device {
  DeviceFacts facts;
  int64_t memory = 0;
  int compute = 1000;
  int claims = 0;
  bool exclusive = false;
  std::array<bool, kMaxPartitionSlots> slots{};  // in use
};

struct Node {
  NodeFacts facts;
  int64_t cpu = 0;
  int64_t memory = 0;
  std::vector<Device> devices;
};

struct Want {
  int64_t memory = 0;
  int compute = 0;
  const PartitionProfile* profile = nullptr;
  bool possible = false;
};

Want wanted(const DeviceFacts& device, const Request& request) {
  const uint64_t memory =
      request.memory_bytes > 0 ? request.memory_bytes : device.memory_bytes / 100 * request.memory_percent;
  if (device.partitions.empty()) {
    return {static_cast<int64_t>(memory), static_cast<int>(request.compute_permille), nullptr,
            request.partition.empty() && memory <= device.memory_bytes};
  }
  const PartitionProfile* best = nullptr;
  for (const PartitionProfile& profile : device.partitions) {
    const bool holds = profile.memory_bytes >= memory &&
                       profile.compute_permille >= request.compute_permille &&
                       (request.partition.empty() || request.partition == profile.name);
    if (holds && (best == nullptr || profile.slots < best->slots)) best = &profile;
  }
  if (best == nullptr) return {};
  return {static_cast<int64_t>(best->memory_bytes), static_cast<int>(best->compute_permille), best, true};
}

bool start_free(const Device& device, const PartitionProfile& profile, int start) {
  if ((profile.starts & 1 << start) == 0) return false;
  for (int slot = start; slot < start + profile.slots; ++slot) {
    if (device.slots[static_cast<size_t>(slot)]) return false;
  }
  return true;
}

void hold(Node& node, const Spot& spot, const Request& request) {
  node.cpu -= request.cpu_milli;
  node.memory -= static_cast<int64_t>(request.node_memory_bytes);
  for (size_t i = 0; i < node.devices.size(); ++i) {
    if ((spot.devices & 1 << i) == 0) continue;
    Device& device = node.devices[i];
    const Want want = wanted(device.facts, request);
    device.memory -= want.memory;
    device.compute -= want.compute;
    ++device.claims;
    device.exclusive |= request.exclusive;
    if (want.profile == nullptr) continue;
    for (size_t slot = 0; slot < want.profile->slots; ++slot)
      device.slots[spot.partition_starts[i] + slot] = true;
  }
}

Node rebuild(const NodeFacts& facts, NodeIndex index, const Cluster& cluster, const std::vector<Held>& held) {
  Node node{facts, facts.cpu_milli, static_cast<int64_t>(facts.memory_bytes), {}};
  for (const DeviceFacts& device : facts.devices) {
    node.devices.push_back({device, static_cast<int64_t>(device.memory_bytes), 1000, 0, false, {}});
  }
  for (const Held& claim : held) {
    if (claim.spot.node == index) hold(node, claim.spot, cluster.shape(claim.shape).request);
  }
  return node;
}

bool condition_holds(const Condition& condition, const NodeFacts& node, const DeviceFacts& device) {
  std::map<std::string, std::string> attributes(node.attributes.begin(), node.attributes.end());
  for (const auto& [name, value] : device.attributes) attributes[name] = value;
  const bool there = attributes.contains(condition.name);
  const std::string value = there ? attributes[condition.name] : "";
  const bool listed = std::ranges::find(condition.values, value) != condition.values.end();
  using Op = Condition::Op;
  switch (condition.op) {
    case Op::In:
      return there && listed;
    case Op::NotIn:
      return !there || !listed;
    case Op::Exists:
      return there;
    case Op::Absent:
      return !there;
    case Op::AtLeast:
      return there && std::stoi(value) >= std::stoi(condition.values[0]);
    case Op::AtMost:
      return there && std::stoi(value) <= std::stoi(condition.values[0]);
  }
  return false;
}

bool slice_fits(const Node& node, const Device& device, const Request& request) {
  const DeviceFacts& facts = device.facts;
  const Want want = wanted(facts, request);
  const auto in = [](const std::vector<std::string>& list, const std::string& name) {
    return list.empty() || std::ranges::find(list, name) != list.end();
  };
  if (!want.possible || !facts.healthy || facts.cordoned || node.facts.cordoned || device.memory < 0)
    return false;
  if (device.exclusive || device.claims >= facts.max_claims) return false;
  if ((request.exclusive || request.prefer == Prefer::Mutex) && device.claims > 0) return false;
  if (!in(request.models, facts.model) || !in(request.device_ids, facts.id)) return false;
  if (!request.vendor.empty() && request.vendor != facts.vendor) return false;
  if (facts.isolation < request.min_isolation) return false;
  for (const Condition& condition : request.conditions) {
    if (!condition_holds(condition, node.facts, facts)) return false;
  }
  return device.memory >= want.memory && device.compute >= want.compute;
}

bool near(const Node& node, uint32_t devices, Near how) {
  if (how == Near::Anywhere || std::popcount(devices) <= 1) return true;
  const auto place = [how](const DeviceFacts& device) {
    if (how == Near::SameNuma) return device.numa_node;
    return how == Near::SamePcieRoot ? device.pcie_root : device.link_island;
  };
  std::optional<int32_t> common;
  for (size_t i = 0; i < node.devices.size(); ++i) {
    if ((devices & 1u << i) == 0) continue;
    const int32_t here = place(node.devices[i].facts);
    if (here < 0 || (common && *common != here)) return false;
    common = here;
  }
  return true;
}

// Calls `use` with every spot that can be taken; stops when it returns true.
bool any_spot(const Node& node, const Request& request, const auto& use) {
  if (node.cpu < request.cpu_milli || node.memory < static_cast<int64_t>(request.node_memory_bytes))
    return false;
  if (request.devices == 0) return !node.facts.cordoned && use(Spot{0, 0, {}});
  for (uint32_t set = 1; set < 1u << node.devices.size(); ++set) {
    if (std::popcount(set) != static_cast<int>(request.devices)) continue;
    if (request.near_required && !near(node, set, request.near)) continue;
    bool fits = true;
    for (size_t i = 0; i < node.devices.size(); ++i) {
      if ((set & 1u << i) != 0) fits = fits && slice_fits(node, node.devices[i], request);
    }
    if (!fits) continue;
    Spot spot{0, static_cast<uint16_t>(set), {}};
    const auto with_starts = [&](const auto& self, size_t i) -> bool {
      if (i == node.devices.size()) return use(spot);
      if ((set & 1u << i) == 0) return self(self, i + 1);
      const Want want = wanted(node.devices[i].facts, request);
      if (want.profile == nullptr) return self(self, i + 1);
      for (int start = 0; start < static_cast<int>(kMaxPartitionSlots); ++start) {
        if (!start_free(node.devices[i], *want.profile, start)) continue;
        spot.partition_starts[i] = static_cast<uint8_t>(start);
        if (self(self, i + 1)) return true;
        spot.partition_starts[i] = 0;
      }
      return false;
    };
    if (with_starts(with_starts, 0)) return true;
  }
  return false;
}

bool fits_times(const Node& node, const Request& request, uint32_t times) {
  if (times == 0) return true;
  return any_spot(node, request, [&](const Spot& spot) {
    Node after = node;
    hold(after, spot, request);
    return fits_times(after, request, times - 1);
  });
}

// ------------------------------------------------------------------ random cases

const std::vector<PartitionProfile> kProfiles = {
    {"one", 2, 100, 1, 0b00001111}, {"two", 4, 300, 2, 0b00000101}, {"odd", 5, 300, 3, 0b00000010}};

NodeFacts random_node(Random& random, int name) {
  NodeFacts node;
  node.name = "n" + std::to_string(name);
  node.cpu_milli = static_cast<uint32_t>(random.below(8));
  node.memory_bytes = random.below(8);
  node.cordoned = random.below(16) == 0;
  if (random.below(3) == 0) node.attributes = {{"tier", std::to_string(random.below(3))}};
  const uint64_t devices = random.below(5);
  for (uint64_t i = 0; i < devices; ++i) {
    DeviceFacts device;
    device.id = node.name + "d" + std::to_string(i);
    device.vendor = random.below(4) == 0 ? "AMD" : "NVIDIA";
    device.model = random.below(2) == 0 ? "A" : "B";
    device.memory_bytes = 100 * (1 + random.below(4));
    device.isolation = static_cast<Isolation>(random.below(5));
    device.healthy = random.below(10) != 0;
    device.cordoned = random.below(16) == 0;
    device.numa_node = static_cast<int32_t>(random.below(3)) - 1;
    device.pcie_root = static_cast<int32_t>(random.below(3)) - 1;
    device.link_island = static_cast<int32_t>(random.below(3)) - 1;
    device.max_claims = static_cast<uint16_t>(1 + random.below(6));
    if (random.below(3) == 0) {
      device.memory_bytes = 8;
      device.partitions = kProfiles;
      device.partitions.resize(1 + random.below(3));
    }
    if (random.below(4) == 0) device.attributes = {{"tier", std::to_string(random.below(3))}};
    node.devices.push_back(device);
  }
  return node;
}

Request random_request(Random& random) {
  Request request;
  request.cpu_milli = static_cast<uint32_t>(random.below(4));
  request.node_memory_bytes = random.below(3);
  request.devices = static_cast<uint32_t>(random.below(4));
  if (request.devices == 0) return request;
  switch (random.below(5)) {
    case 0:
      request.memory_bytes = 1 + random.below(6);
      break;
    case 1:
      request.memory_bytes = 100 * random.below(4);
      request.compute_permille = static_cast<uint32_t>(1 + random.below(1000));
      break;
    case 2:
      request.memory_percent = static_cast<uint32_t>(1 + random.below(100));
      break;
    case 3:
      request.compute_permille = random.below(2) == 0 ? 1000 : 300;
      break;
    default:
      request.partition = kProfiles[random.below(3)].name;
  }
  request.exclusive = random.below(8) == 0;
  if (random.below(8) == 0) request.models = {"A"};
  if (random.below(12) == 0) request.vendor = "NVIDIA";
  if (random.below(12) == 0) request.device_ids = {"n0d0", "n1d1", "n0d2"};
  if (random.below(10) == 0) request.min_isolation = static_cast<Isolation>(random.below(5));
  if (random.below(3) == 0) request.near = static_cast<Near>(random.below(4));
  request.near_required = random.below(4) != 0;
  request.prefer = static_cast<Prefer>(random.below(4));
  if (random.below(6) == 0) {
    const auto op = static_cast<Condition::Op>(random.below(6));
    Condition condition{"tier", op, {"1"}};
    if (op == Condition::Op::Exists || op == Condition::Op::Absent) condition.values.clear();
    request.conditions = {condition};
  }
  return request;
}

void check_node(const Cluster& cluster, NodeIndex index, const NodeFacts& facts,
                const std::vector<Held>& held, ShapeId shape) {
  const Node node = rebuild(facts, index, cluster, held);
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
    const Node node = rebuild(facts[index], index, cluster, held);
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
    held.push_back({*spot, shape});
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

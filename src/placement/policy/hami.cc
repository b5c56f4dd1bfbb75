#include "placement/policy/hami.h"

#include <algorithm>
#include <bit>
#include <numeric>

#include "base/text.h"

namespace tweendeck::placement {
namespace {

// What a link between two devices counts, nearer more. HAMi reads pairwise scores from the node; here they follow
// from where the devices sit.
int64_t link(const DeviceFacts& a, const DeviceFacts& b) {
  if (a.link_island >= 0 && a.link_island == b.link_island) return 100;
  if (a.pcie_root >= 0 && a.pcie_root == b.pcie_root) return 30;
  if (a.numa_node >= 0 && a.numa_node == b.numa_node) return 20;
  return 10;
}

int64_t share(int64_t used, int64_t capacity) {  // permille
  return capacity <= 0 ? 0 : used * 1000 / capacity;
}

}  // namespace

Result<HamiScorer> HamiScorer::make(std::string_view node, std::string_view devices, HamiWeights weights) {
  HamiScorer scorer;
  scorer.weights_ = weights;
  if (node != "binpack" && node != "spread") {
    return fail(Reason::InvalidArgument, "node policy '" + std::string(node) + "' is unknown",
                "use binpack or spread");
  }
  scorer.node_binpack_ = node == "binpack";
  for (const std::string_view part : split(devices, ',')) {
    const std::string_view word = trim(part);
    const auto add = [&](Key key) {
      if (std::ranges::find(scorer.chain_, key) == scorer.chain_.end()) scorer.chain_.push_back(key);
    };
    if (word == "binpack") {
      add(Key::Binpack);
    } else if (word == "spread") {
      add(Key::Spread);
    } else if (word == "numa") {
      add(Key::Numa);
    } else if (word == "mutex") {
      scorer.mutex_ = true;
    } else if (word == "topology-aware") {
      scorer.topology_ = true;
    } else {
      const std::string_view near = nearest(word, {"binpack", "spread", "numa", "mutex", "topology-aware"});
      return fail(
          Reason::InvalidArgument,
          "device policy '" + std::string(devices) + "' has the unknown word '" + std::string(word) + "'",
          near.empty() ? "use binpack, spread, numa, mutex, topology-aware, separated by commas"
                       : "did you mean " + std::string(near) + "?");
    }
  }
  if (scorer.chain_.empty()) scorer.chain_.push_back(Key::Spread);
  return scorer;
}

int64_t HamiScorer::node_use(const Cluster& cluster, NodeIndex index) const {
  const NodeState& node = cluster.nodes()[index];
  const NodeFacts& facts = cluster.types()[node.type].facts;
  int64_t slots = 0;
  int64_t slots_used = 0;
  int64_t compute_used = 0;
  int64_t memory = 0;
  int64_t memory_used = 0;
  for (uint32_t device = 0; device < node.device_count; ++device) {
    const auto capacity = static_cast<int64_t>(facts.devices[device].memory_bytes);
    slots += facts.devices[device].max_claims;
    slots_used += node.claims[device];
    compute_used += kWholeCompute - node.compute_free[device];
    memory += capacity >> 20;
    memory_used += (capacity - node.memory_free[device]) >> 20;
  }
  return share(slots_used, slots) + share(compute_used, int64_t{kWholeCompute} * node.device_count) +
         share(memory_used, memory);
}

int64_t HamiScorer::device_use(const Cluster& cluster, NodeIndex index, ShapeId shape,
                               uint32_t device) const {
  const NodeState& node = cluster.nodes()[index];
  const DeviceFacts& facts = cluster.types()[node.type].facts.devices[device];
  const SliceSize size = cluster.slice_size(node.type, shape, device);
  const auto capacity = static_cast<int64_t>(facts.memory_bytes);
  const int64_t memory_used = capacity - node.memory_free[device] + static_cast<int64_t>(size.memory_bytes);
  return weights_.slot * share(node.claims[device] + 1, facts.max_claims) +
         weights_.core *
             share(kWholeCompute - node.compute_free[device] + size.compute_permille, kWholeCompute) +
         weights_.memory * share(memory_used >> 20, capacity >> 20);
}

// HAMi sorts the devices and takes them from the end; ties go to the higher NUMA node, then to the higher index.
std::optional<uint16_t> HamiScorer::devices(const Cluster& cluster, NodeIndex index, ShapeId shape) const {
  const NodeState& node = cluster.nodes()[index];
  const NodeFacts& facts = cluster.types()[node.type].facts;
  std::array<int64_t, kMaxDevicesPerNode> use{};
  std::array<uint8_t, kMaxDevicesPerNode> order{};
  std::iota(order.begin(), order.end(), uint8_t{0});
  for (uint32_t device = 0; device < node.device_count; ++device) {
    use[device] = device_use(cluster, index, shape, device);
  }
  const auto before = [&](uint8_t a, uint8_t b) {
    const bool a_idle = (node.whole >> a & 1) != 0;
    const bool b_idle = (node.whole >> b & 1) != 0;
    if (mutex_ && a_idle != b_idle) return a_idle;
    for (const Key key : chain_) {
      if (key == Key::Binpack && use[a] != use[b]) return use[a] > use[b];
      if (key == Key::Spread && use[a] != use[b]) return use[a] < use[b];
      const int32_t numa_a = facts.devices[a].numa_node;
      const int32_t numa_b = facts.devices[b].numa_node;
      if (key == Key::Numa && numa_a != numa_b) return numa_a > numa_b;
    }
    if (facts.devices[a].numa_node != facts.devices[b].numa_node) {
      return facts.devices[a].numa_node > facts.devices[b].numa_node;
    }
    return a > b;
  };
  std::sort(order.begin(), order.begin() + node.device_count, before);
  DeviceKeys keys{};
  for (uint32_t place = 0; place < node.device_count; ++place) keys[order[place]] = place;
  return devices_by_key(cluster, index, shape, keys);
}

std::optional<uint16_t> HamiScorer::best_linked(const Cluster& cluster, NodeIndex index,
                                                ShapeId shape) const {
  const NodeState& node = cluster.nodes()[index];
  const NodeFacts& facts = cluster.types()[node.type].facts;
  const Request& request = cluster.shape(shape).request;
  const uint16_t fitting = cluster.fitting_devices(index, shape);
  const auto links = [&](uint32_t device, uint32_t others) {
    int64_t sum = 0;
    for (uint32_t rest = others & ~(1u << device); rest != 0; rest &= rest - 1) {
      sum += link(facts.devices[device], facts.devices[static_cast<size_t>(std::countr_zero(rest))]);
    }
    return sum;
  };
  std::optional<uint16_t> best;
  int64_t best_sum = 0;
  // All subsets of `fitting`; at most 2^16, and only of the node that was chosen.
  for (uint32_t set = fitting; set != 0; set = (set - 1) & fitting) {
    if (std::popcount(set) != static_cast<int>(request.devices)) continue;
    if (!cluster.fits(cluster.spot(index, static_cast<uint16_t>(set), shape), shape)) continue;
    int64_t sum = 0;
    for (uint32_t rest = set; rest != 0; rest &= rest - 1) {
      const auto device = static_cast<uint32_t>(std::countr_zero(rest));
      sum += request.devices == 1 ? -links(device, fitting) : links(device, set);
    }
    if (!best || sum > best_sum) {
      best = static_cast<uint16_t>(set);
      best_sum = sum;
    }
  }
  return best;
}

int32_t HamiScorer::score(const Cluster& cluster, NodeIndex node, ShapeId shape) const {
  if (!cluster.fits(node, shape)) return kUnfit;
  const int64_t use = node_use(cluster, node);
  return static_cast<int32_t>(node_binpack_ ? use : -use);
}

uint16_t HamiScorer::pick(const Cluster& cluster, NodeIndex node, ShapeId shape) const {
  if (cluster.shape(shape).request.devices == 0) return 0;
  return *(topology_ ? best_linked(cluster, node, shape) : devices(cluster, node, shape));
}

std::vector<ScoreTerm> HamiScorer::terms(const Cluster& cluster, ShapeId, const Spot& spot) const {
  const int64_t use = node_use(cluster, spot.node);
  return {{"use of the node's devices", node_binpack_ ? use : -use}};
}

}  // namespace tweendeck::placement

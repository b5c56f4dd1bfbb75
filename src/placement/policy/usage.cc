#include "placement/policy/usage.h"

#include "placement/policy/device_choice.h"

namespace tweendeck::placement {
namespace {

struct Use {  // permille
  int64_t compute = 0;
  int64_t memory = 0;
  int64_t cpu = 0;
};

// In MiB, so that sums times 1000 stay in 64 bits.
int64_t permille(int64_t used, int64_t capacity) {
  return capacity <= 0 ? 0 : used * 1000 / capacity;
}

Use use_of(const Cluster& cluster, NodeIndex index) {
  const NodeState& node = cluster.nodes()[index];
  const NodeFacts& facts = cluster.types()[node.type].facts;
  int64_t compute_free = 0;
  int64_t memory = 0;
  int64_t memory_free = 0;
  for (uint32_t device = 0; device < node.device_count; ++device) {
    compute_free += node.compute_free[device];
    memory += static_cast<int64_t>(facts.devices[device].memory_bytes >> 20);
    memory_free += node.memory_free[device] >> 20;
  }
  const int64_t compute = int64_t{kWholeCompute} * node.device_count;
  const int64_t cpu = facts.cpu_milli;
  return {permille(compute - compute_free, compute), permille(memory - memory_free, memory),
          permille(cpu - node.cpu_free_milli, cpu)};
}

}  // namespace

uint16_t UsageScorer::pick(const Cluster& cluster, NodeIndex node, ShapeId shape) const {
  DeviceKeys keys = fullest_first(cluster, node);
  if (!pack_) {
    for (int64_t& key : keys) key = -key;
  }
  return *devices_by_key(cluster, node, shape, keys);
}

int32_t UsageScorer::score(const Cluster& cluster, NodeIndex node, ShapeId shape) const {
  if (!cluster.fits(node, shape)) return kUnfit;
  const Use use = use_of(cluster, node);
  const int64_t sum =
      (use.compute * weights_.compute + use.memory * weights_.memory + use.cpu * weights_.cpu) / 1000;
  return static_cast<int32_t>(pack_ ? sum : -sum);
}

std::vector<ScoreTerm> UsageScorer::terms(const Cluster& cluster, ShapeId, const Spot& spot) const {
  const Use use = use_of(cluster, spot.node);
  const int64_t sign = pack_ ? 1 : -1;
  return {{"compute in use", sign * use.compute * weights_.compute / 1000},
          {"memory in use", sign * use.memory * weights_.memory / 1000},
          {"cpu in use", sign * use.cpu * weights_.cpu / 1000}};
}

}  // namespace tweendeck::placement

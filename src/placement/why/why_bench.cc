// What a question costs on clusters of 19,408 nodes and 99,392 devices on which the claim has no place. In each of them one
// node in a hundred has a faulty device.
#include <benchmark/benchmark.h>

#include "base/clock.h"
#include "placement/why/report.h"

namespace tweendeck::placement {
namespace {

constexpr uint64_t kMiB = 1ull << 20;
constexpr uint64_t kGiB = 1ull << 30;
constexpr uint32_t kNodes = 19'408;
constexpr uint32_t kGpuNodes = 12'424;  // of eight devices each: 99,392
constexpr uint32_t kDevices = 8;
constexpr uint32_t kFaultyOneIn = 100;  // nodes with GPUs

// NVIDIA's profiles of an A100 with 80 GB.
std::vector<PartitionProfile> mig_profiles() {
  return {{"1g.10gb", 9728 * kMiB, 140, 1, 0b01111111},
          {"2g.20gb", 19968 * kMiB, 280, 2, 0b00010101},
          {"3g.40gb", 40192 * kMiB, 420, 4, 0b00010001},
          {"7g.80gb", 80 * kGiB, 1000, 8, 0b00000001}};
}

NodeFacts machine(uint32_t index, bool cut) {
  constexpr std::array<const char*, 4> kModels = {"A10", "A100", "H100", "V100M32"};
  constexpr std::array<uint64_t, 4> kMemory = {24, 80, 80, 32};
  NodeFacts node;
  node.name = "node-" + std::to_string(index);
  node.cpu_milli = 96'000;
  node.memory_bytes = 768 * kGiB;
  node.rack = "rack-" + std::to_string(index / 32);
  if (index >= kGpuNodes) return node;
  for (uint32_t i = 0; i < kDevices; ++i) {
    DeviceFacts device;
    device.id = node.name + "-gpu" + std::to_string(i);
    device.vendor = "NVIDIA";
    device.model = cut ? "A100" : kModels[index % 4];
    device.memory_bytes = (cut ? 80 : kMemory[index % 4]) * kGiB;
    device.numa_node = device.link_island = static_cast<int32_t>(i / 4);
    device.healthy = i > 0 || index % kFaultyOneIn != 0;
    if (cut) device.partitions = mig_profiles();
    node.devices.push_back(device);
  }
  return node;
}

struct World {
  Cluster cluster;
  std::vector<std::vector<Holder>> holders{kNodes};
  std::vector<Spot> spots;  // of small claims that fit
  ShapeId small = 0;

  explicit World(bool cut) {
    for (uint32_t i = 0; i < kNodes; ++i) (void)cluster.put_node(machine(i, cut));
  }
  bool hold(NodeIndex node, uint32_t device, const Request& request) {
    const ShapeId shape = cluster.shape_id(request).value();
    const auto bit = static_cast<uint16_t>(1u << device);
    if ((cluster.fitting_devices(node, shape) & bit) == 0) return false;
    const Spot spot = cluster.spot(node, bit, shape);
    cluster.take(spot, shape);
    const size_t number = holders[node].size();
    holders[node].push_back(
        {"claim-" + std::to_string(node) + "-" + std::to_string(number), 0, {{spot, shape}}});
    return true;
  }
};

Request ask(uint32_t devices, uint32_t compute, uint64_t memory) {
  Request request;
  request.cpu_milli = 4000;
  request.devices = devices;
  request.compute_permille = compute;
  request.memory_bytes = memory;
  return request;
}

// Every device holds a share of 55 to 95 %, so no claim for more than 45 % has a place; 36 to 92 CPUs are free.
World& shared() {
  static World w = [] {
    World made(false);
    Random random(7);
    for (uint32_t i = 0; i < kGpuNodes; ++i) {
      for (uint32_t device = 0; device < kDevices; ++device) {
        Request request =
            ask(1, static_cast<uint32_t>(550 + random.below(5) * 100), (8 + random.below(3)) * kGiB);
        request.cpu_milli = static_cast<uint32_t>(500 + random.below(15) * 500);
        made.hold(i, device, request);
      }
    }
    Request small;
    small.devices = 1;
    small.compute_permille = 10;
    made.small = made.cluster.shape_id(small).value();
    for (uint32_t i = 0; i < kGpuNodes; ++i) made.spots.push_back(made.cluster.spot(i, 2, made.small));
    return made;
  }();
  return w;
}

// Six devices of each node are held whole; of the other two one lies at each NUMA node and island.
World& held() {
  static World w = [] {
    World made(false);
    Random random(7);
    for (uint32_t i = 0; i < kGpuNodes; ++i) {
      const auto free = static_cast<uint32_t>(random.below(4));
      for (uint32_t device = 0; device < kDevices; ++device) {
        if (device % 4 == free) continue;
        Request request = ask(1, 1000, 0);
        request.exclusive = true;
        made.hold(i, device, request);
      }
    }
    return made;
  }();
  return w;
}

// Devices cut into partitions of which each holds so many that no large one has a place.
World& cut() {
  static World w = [] {
    World made(true);
    Random random(7);
    for (uint32_t i = 0; i < kGpuNodes; ++i) {
      for (uint32_t device = 0; device < kDevices; ++device) {
        Request request = ask(1, 0, 0);
        request.cpu_milli = 500;
        const uint64_t small = 6 + random.below(2);
        for (uint64_t slot = 0; slot < small; ++slot) {
          request.partition = "1g.10gb";
          made.hold(i, device, request);
        }
      }
    }
    return made;
  }();
  return w;
}

void why(benchmark::State& state, World& w, const Request& request, uint32_t changes_between = 0) {
  const ShapeId shape = w.cluster.shape_id(request).value();
  Question question{.shape = shape,
                    .holders = [&w](NodeIndex node) { return w.holders[node]; },
                    .admission = Reason::None,
                    .admission_detail = {},
                    .tried_ms = 1};
  Reporter reporter;
  Report report = reporter.why(w.cluster, question);
  uint32_t node = 0;
  for (auto _ : state) {
    for (uint32_t i = 0; i < changes_between; ++i, node = (node + 37) % kGpuNodes) {
      w.cluster.take(w.spots[node], w.small);
      w.cluster.give(w.spots[node], w.small);
    }
    report = reporter.why(w.cluster, question);
    benchmark::DoNotOptimize(report);
  }
  if (report.fitting_nodes > 0) return state.SkipWithError("the claim has a place");
  state.SetLabel(std::string(to_string(report.reason())));
}

Request near(uint32_t devices, uint32_t compute, Near where) {
  Request request = ask(devices, compute, 0);
  request.near = where;
  return request;
}
Request exclusive(uint32_t devices) {
  Request request = ask(devices, 1000, 0);
  request.exclusive = true;
  return request;
}
Request partition(uint32_t devices, const char* name, Near where = Near::Anywhere) {
  Request request = ask(devices, 0, 0);
  request.partition = name;
  request.near = where;
  return request;
}
Request of_model(Request request, const char* model) {
  request.models = {model};
  return request;
}
Request with_cpu(uint32_t devices, uint32_t cpu_milli) {
  Request request = devices == 0 ? Request{} : ask(devices, 50, 0);
  request.cpu_milli = cpu_milli;
  return request;
}
Request named() {
  Request request = ask(1, 500, 0);
  for (uint32_t i = 0; i < 16; ++i) request.device_ids.push_back("node-" + std::to_string(i * 611) + "-gpu3");
  return request;
}

#define TW_WHY(name, world, ...)       \
  void name(benchmark::State& state) { \
    why(state, world(), __VA_ARGS__);  \
  }                                    \
  BENCHMARK(name)->Unit(benchmark::kMicrosecond)

TW_WHY(share, shared, ask(1, 500, 0));
TW_WHY(share_with_memory, shared, ask(1, 500, 20 * kGiB + 1));
TW_WHY(memory_just_too_large, shared, ask(1, 10, 72 * kGiB + 1));
TW_WHY(four_shares, shared, ask(4, 500, 0));
TW_WHY(eight_whole, shared, ask(8, 1000, 0));
TW_WHY(one_model, shared, of_model(ask(1, 1000, 0), "H100"));
TW_WHY(named_devices, shared, named());
TW_WHY(exclusive_device, shared, exclusive(1));
TW_WHY(exclusive_four, held, exclusive(4));
TW_WHY(whole_four, held, ask(4, 1000, 0));
TW_WHY(near_shares_numa, shared, near(2, 500, Near::SameNuma));
TW_WHY(near_numa, held, near(2, 1000, Near::SameNuma));
TW_WHY(near_island, held, near(2, 500, Near::SameIsland));
TW_WHY(near_exclusive, held, [] {
  Request request = near(2, 1000, Near::SameNuma);
  request.exclusive = true;
  return request;
}());
TW_WHY(partition_large, cut, partition(1, "3g.40gb"));
TW_WHY(partition_eight, cut, partition(8, "2g.20gb"));
TW_WHY(partition_near, cut, partition(2, "3g.40gb", Near::SameIsland));
TW_WHY(cpu_only, shared, with_cpu(0, 97'000));
TW_WHY(device_and_cpu, shared, with_cpu(1, 95'000));
TW_WHY(share_after_100_changes, shared, ask(1, 500, 0), 100);

void text(benchmark::State& state) {
  World& w = shared();
  Reporter reporter;
  const ShapeId shape = w.cluster.shape_id(ask(1, 500, 0)).value();
  const Report report = reporter.why(w.cluster, {.shape = shape,
                                                 .holders = [&w](NodeIndex node) { return w.holders[node]; },
                                                 .admission = Reason::None,
                                                 .admission_detail = {},
                                                 .tried_ms = 1});
  for (auto _ : state) benchmark::DoNotOptimize(report.text());
  state.SetLabel(std::to_string(report.text().size()) + " bytes");
}
BENCHMARK(text)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace tweendeck::placement

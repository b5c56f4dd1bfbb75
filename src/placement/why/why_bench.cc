// What a question costs on a cluster of 19,408 nodes and 99,392 devices on which the claim has no place.
#include <benchmark/benchmark.h>

#include "base/clock.h"
#include "placement/why/report.h"

namespace tweendeck::placement {
namespace {

constexpr uint64_t kGiB = 1ull << 30;
constexpr uint32_t kNodes = 19'408;
constexpr uint32_t kGpuNodes = 12'424;  // of eight devices each: 99,392

NodeFacts machine(uint32_t index) {
  constexpr std::array<const char*, 4> kModels = {"A10", "A100", "H100", "V100M32"};
  constexpr std::array<uint64_t, 4> kMemory = {24, 80, 80, 32};
  NodeFacts node;
  node.name = "node-" + std::to_string(index);
  node.cpu_milli = 96'000;
  node.memory_bytes = 768 * kGiB;
  node.rack = "rack-" + std::to_string(index / 32);
  if (index >= kGpuNodes) return node;
  for (uint32_t i = 0; i < 8; ++i) {
    DeviceFacts device;
    device.id = node.name + "-gpu" + std::to_string(i);
    device.vendor = "NVIDIA";
    device.model = kModels[index % 4];
    device.memory_bytes = kMemory[index % 4] * kGiB;
    device.numa_node = static_cast<int32_t>(i / 4);
    node.devices.push_back(device);
  }
  return node;
}

struct World {
  Cluster cluster;
  std::vector<std::vector<Holder>> holders{kNodes};
  std::vector<Spot> spots;
  ShapeId small = 0;
};

// Every device holds a share of 55 to 95 %, so no claim for more than 45 % has a place.
World& world() {
  static World w = [] {
    World made;
    Random random(7);
    for (uint32_t i = 0; i < kNodes; ++i) (void)made.cluster.put_node(machine(i));
    for (uint32_t i = 0; i < kGpuNodes; ++i) {
      for (uint32_t device = 0; device < 8; ++device) {
        Request request;
        request.cpu_milli = 1000;
        request.devices = 1;
        request.compute_permille = static_cast<uint32_t>(550 + random.below(5) * 100);
        request.memory_bytes = (8 + random.below(3)) * kGiB;
        const ShapeId shape = made.cluster.shape_id(request).value();
        const Spot spot = made.cluster.spot(i, static_cast<uint16_t>(1u << device), shape);
        made.cluster.take(spot, shape);
        made.holders[i].push_back({"claim-" + std::to_string(i * 8 + device), 0, {{spot, shape}}});
      }
    }
    Request small;
    small.devices = 1;
    small.compute_permille = 10;
    made.small = made.cluster.shape_id(small).value();
    for (uint32_t i = 0; i < kGpuNodes; ++i) made.spots.push_back(made.cluster.spot(i, 1, made.small));
    return made;
  }();
  return w;
}

Request ask(uint32_t devices, uint32_t compute, uint64_t memory) {
  Request request;
  request.cpu_milli = 4000;
  request.devices = devices;
  request.compute_permille = compute;
  request.memory_bytes = memory;
  return request;
}

void why(benchmark::State& state, const Request& request, uint32_t changes_between) {
  World& w = world();
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
  state.SetLabel(std::string(to_string(report.reason())));
}

void share(benchmark::State& state) {
  why(state, ask(1, 500, 0), 0);
}
void share_with_memory(benchmark::State& state) {
  why(state, ask(1, 500, 20 * kGiB + 1), 0);
}
void eight_whole(benchmark::State& state) {
  why(state, ask(8, 1000, 0), 0);
}
void one_model(benchmark::State& state) {
  Request request = ask(1, 1000, 0);
  request.models = {"H100"};
  why(state, request, 0);
}
void share_after_100_changes(benchmark::State& state) {
  why(state, ask(1, 500, 0), 100);
}
void exclusive(benchmark::State& state) {  // not in the pass over columns: judged one by one
  Request request = ask(1, 1000, 0);
  request.exclusive = true;
  why(state, request, 0);
}
void text(benchmark::State& state) {
  World& w = world();
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

BENCHMARK(share)->Unit(benchmark::kMicrosecond);
BENCHMARK(share_with_memory)->Unit(benchmark::kMicrosecond);
BENCHMARK(eight_whole)->Unit(benchmark::kMicrosecond);
BENCHMARK(one_model)->Unit(benchmark::kMicrosecond);
BENCHMARK(share_after_100_changes)->Unit(benchmark::kMicrosecond);
BENCHMARK(exclusive)->Unit(benchmark::kMicrosecond);
BENCHMARK(text)->Unit(benchmark::kMicrosecond);

}  // namespace
}  // namespace tweendeck::placement

// Replays the published inflation experiment with the default policy: what it packs, and what a decision costs.
#include <sys/resource.h>
#include <time.h>
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <map>
#include <string>

#include "bench/placement/trace.h"
#include "placement/policy/fragmentation/fragmentation.h"

namespace {

using namespace tweendeck;
using namespace tweendeck::placement;

constexpr int kPoints[] = {80, 85, 90, 95, 100, 105, 110, 120, 130};

struct Outcome {
  std::vector<double> at;
  double mean_us = 0;             // of a decision, learning, index and booking included
  double cpu_us = 0;              // likewise, processor time
  std::vector<float> latency_us;  // of each decision, sorted
  uint64_t refused_wrongly = 0;
  FragmentationPolicy::Counters counters;
};

double microseconds(std::chrono::steady_clock::duration time) {
  return std::chrono::duration<double, std::micro>(time).count();
}

double cpu_us() {
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_nsec) / 1e3;
}

Outcome replay(const bench::Trace& trace, const bench::Trace::Run& run, uint32_t copies, bool check) {
  Cluster cluster = bench::make_cluster(trace, run, copies);
  std::vector<ShapeId> shapes;
  for (const Request& pod : trace.pods) shapes.push_back(*cluster.shape_id(pod));
  uint64_t total = 0;
  for (const NodeFacts& node : trace.nodes) total += node.devices.size() * uint64_t{kWholeCompute} * copies;

  Outcome result;
  FragmentationPolicy policy;
  std::vector<double> sum(140);
  std::vector<uint32_t> events(140);
  uint64_t asked = 0;
  uint64_t allocated = 0;
  result.latency_us.reserve(run.arrivals.size() * copies);
  const double cpu_begin = cpu_us();
  const auto begin = std::chrono::steady_clock::now();
  auto before = begin;
  for (uint32_t copy = 0; copy < copies; ++copy) {
    for (const uint32_t index : run.arrivals) {
      const ShapeId shape = shapes[index];
      before = std::chrono::steady_clock::now();
      policy.arrived(shape);
      const auto choice = policy.choose(cluster, shape, {});
      result.latency_us.push_back(
          static_cast<float>(microseconds(std::chrono::steady_clock::now() - before)));
      const Request& pod = trace.pods[index];
      const uint64_t size = uint64_t{pod.devices} * pod.compute_permille;
      asked += size;
      if (choice) {
        cluster.take(choice->spot, shape);
        allocated += size;
      } else if (check) {
        for (NodeIndex node = 0; node < cluster.nodes().size(); ++node) {
          if (!cluster.fits(node, shape)) continue;
          ++result.refused_wrongly;
          break;
        }
      }
      policy.settle(cluster);
      const auto bucket =
          static_cast<size_t>(std::llround(100.0 * static_cast<double>(asked) / static_cast<double>(total)));
      if (bucket >= sum.size()) continue;
      sum[bucket] += std::round(1e4 * static_cast<double>(allocated) / static_cast<double>(total)) / 100;
      ++events[bucket];
    }
  }
  result.cpu_us = (cpu_us() - cpu_begin) / static_cast<double>(result.latency_us.size());
  result.mean_us =
      microseconds(std::chrono::steady_clock::now() - begin) / static_cast<double>(result.latency_us.size());
  for (const int point : kPoints) {
    const auto bucket = static_cast<size_t>(point);
    result.at.push_back(events[bucket] == 0 ? 0 : std::round(100 * sum[bucket] / events[bucket]) / 100);
  }
  std::ranges::sort(result.latency_us);
  result.counters = policy.counters();
  return result;
}

double quantile(const std::vector<float>& sorted, double share) {
  return sorted.empty() ? 0 : sorted[static_cast<size_t>(share * static_cast<double>(sorted.size() - 1))];
}

}  // namespace

// speed NODES PODS ARRIVALS [--copies N] [--seeds N] [--check]
int main(int argc, char** argv) {
  if (argc < 4) {
    std::fprintf(stderr, "usage: %s NODES PODS ARRIVALS [--copies N] [--seeds N] [--check]\n", argv[0]);
    return 2;
  }
  uint32_t copies = 1;
  size_t seeds = SIZE_MAX;
  bool check = false;
  for (int i = 4; i < argc; ++i) {
    if (std::strcmp(argv[i], "--check") == 0) check = true;
    if (i + 1 < argc && std::strcmp(argv[i], "--copies") == 0)
      copies = static_cast<uint32_t>(std::stoul(argv[++i]));
    if (i + 1 < argc && std::strcmp(argv[i], "--seeds") == 0) seeds = std::stoul(argv[++i]);
  }
  const bench::Trace trace = bench::read_trace(argv[1], argv[2], argv[3]);
  seeds = std::min(seeds, trace.runs.size());
  std::vector<double> mean(std::size(kPoints));
  double square = 0;
  for (size_t i = 0; i < seeds; ++i) {
    const Outcome result = replay(trace, trace.runs[i], copies, check);
    for (size_t point = 0; point < mean.size(); ++point)
      mean[point] += result.at[point] / static_cast<double>(seeds);
    square += result.at[4] * result.at[4] / static_cast<double>(seeds);
    const auto& latency = result.latency_us;
    std::printf(
        "seed %u alloc@100 %.2f @130 %.2f us/decision %.2f cpu %.2f latency p50 %.2f p90 %.2f p99 %.1f p99.9 "
        "%.1f max %.0f "
        "learned %lu refreshed %lu rebuilt %lu classes %zu live %zu values %zu scores %zu refused-wrongly "
        "%lu\n",
        trace.runs[i].seed, result.at[4], result.at.back(), result.mean_us, result.cpu_us,
        quantile(latency, 0.5), quantile(latency, 0.9), quantile(latency, 0.99), quantile(latency, 0.999),
        latency.back(), result.counters.learnings, result.counters.refreshes, result.counters.rebuilds,
        result.counters.classes, result.counters.live_classes, result.counters.values, result.counters.scores,
        result.refused_wrongly);
  }
  rusage usage{};
  getrusage(RUSAGE_SELF, &usage);
  std::printf("mean");
  for (const double value : mean) std::printf(" %.3f", value);
  std::printf(" sd@100 %.2f memory_mib %ld\n", std::sqrt(std::max(0.0, square - mean[4] * mean[4])),
              usage.ru_maxrss / 1024);
}

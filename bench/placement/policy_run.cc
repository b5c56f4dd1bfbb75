#include <algorithm>
#include <cmath>
#include <cstdio>

#include "bench/placement/measure.h"
#include "bench/placement/runs.h"
#include "placement/policy/fragmentation/fragmentation.h"

namespace tweendeck::bench {
namespace {

using namespace placement;

constexpr int kPoints[] = {80, 85, 90, 95, 100, 105, 110, 120, 130};  // percent of the devices asked for

uint64_t size_of(const Request& pod) {
  return uint64_t{pod.devices} * pod.compute_permille;
}

// Allocation at each percent of what was asked for, averaged as the published rows are.
class Curve {
 public:
  explicit Curve(uint64_t total) : total_(static_cast<double>(total)) {}
  void add(uint64_t asked, uint64_t allocated) {
    const auto at = static_cast<size_t>(std::llround(100.0 * static_cast<double>(asked) / total_));
    if (at >= sums_.size()) return;
    sums_[at] += std::round(1e4 * static_cast<double>(allocated) / total_) / 100;
    ++counts_[at];
  }
  double at(int point) const {
    const auto i = static_cast<size_t>(point);
    return counts_[i] == 0 ? 0 : std::round(100 * sums_[i] / counts_[i]) / 100;
  }

 private:
  double total_;
  std::vector<double> sums_ = std::vector<double>(140);
  std::vector<uint32_t> counts_ = std::vector<uint32_t>(140);
};

bool fits_anywhere(const Cluster& cluster, ShapeId shape) {
  for (NodeIndex node = 0; node < cluster.nodes().size(); ++node) {
    if (cluster.fits(node, shape)) return true;
  }
  return false;
}

}  // namespace

void run_policy(const Trace& trace, const Trace::Run& run, const Options& options) {
  uint64_t total = 0;
  for (const NodeFacts& node : trace.nodes) total += node.devices.size() * uint64_t{kWholeCompute};
  total *= options.copies;
  const size_t decisions = run.arrivals.size() * options.copies;

  Steps latency;  // until the decision is out
  std::vector<double> cpu;
  std::string last;
  for (uint32_t repeat = 0; repeat < options.repeats; ++repeat) {
    Cluster cluster = make_cluster(trace, run, options.copies);
    std::vector<ShapeId> shapes;
    for (const Request& pod : trace.pods) shapes.push_back(*cluster.shape_id(pod));
    FragmentationPolicy policy;
    Curve curve(total);
    uint64_t asked = 0;
    uint64_t allocated = 0;
    uint64_t refused_wrongly = 0;
    latency.begin();
    const double begin = cpu_us();
    for (size_t i = 0; i < decisions; ++i) {
      const uint32_t index = run.arrivals[i % run.arrivals.size()];
      const ShapeId shape = shapes[index];
      const auto before = Ticks::now();
      policy.arrived(shape);
      const auto choice = policy.choose(cluster, shape, {});
      latency.add(Ticks::now() - before);
      asked += size_of(trace.pods[index]);
      if (choice) {
        cluster.take(choice->spot, shape);
        allocated += size_of(trace.pods[index]);
      } else if (options.check && fits_anywhere(cluster, shape)) {
        ++refused_wrongly;
      }
      policy.settle(cluster);
      curve.add(asked, allocated);
    }
    cpu.push_back((cpu_us() - begin) / static_cast<double>(decisions));

    const FragmentationPolicy::Counters counters = policy.counters();
    char text[400];
    std::snprintf(text, sizeof text,
                  R"("refused_wrongly":%lu,"learnings":%lu,"refreshes":%lu,"rebuilds":%lu,"states":%zu,)"
                  R"("states_live":%zu,"values":%zu,"scores":%zu,"allocated_percent":{)",
                  refused_wrongly, counters.learnings, counters.refreshes, counters.rebuilds,
                  counters.classes, counters.live_classes, counters.values, counters.scores);
    last = text;
    for (const int point : kPoints) {
      std::snprintf(text, sizeof text, R"(%s"%d":%.2f)", point == kPoints[0] ? "" : ",", point,
                    curve.at(point));
      last += text;
    }
  }
  std::printf(R"({"what":"policy","seed":%u,"nodes":%zu,"devices":%lu,"decisions":%zu,"cpu_us":%.3f,)"
              R"("latency_us":%s,"memory_mib":%ld,%s}})"
              "\n",
              run.seed, trace.nodes.size() * options.copies, total / kWholeCompute, decisions,
              *std::ranges::min_element(cpu), distribution(latency.medians()).c_str(), peak_memory_mib(),
              last.c_str());
}

}  // namespace tweendeck::bench

// Prints the figures of the parts that move many claims at once, as one JSON object: see run.
//   tw_bench_fleet [--traces DIR] [--seeds N] [--timings no]
#include <fmt/format.h>

#include <iterator>
#include <string_view>

#include "base/units.h"
#include "fleet.h"
#include "sim/defrag.h"

namespace tweendeck::bench {
namespace {

constexpr double kMovedPercents[] = {0, 0.5, 1, 2, 3, 4, 5, 7.5, 10};

// From FGD's final state on `default`.
Result<std::string> defrag_rows(const std::string& traces, size_t seeds) {
  Result<sim::Workload> workload = sim::load_workload_of(traces, "default");
  if (!workload) return fail(workload.error());
  sim::DefragOptions options;
  options.policies = {"fgd"};
  for (const sim::Order& order : workload->orders)
    if (options.seeds.size() < seeds) options.seeds.push_back(order.seed);
  options.most_moved_percent = *std::rbegin(kMovedPercents);
  Result<std::vector<sim::DefragRuns>> runs = sim::run_defrag(*workload, options);
  if (!runs) return fail(runs.error());
  std::string rows;
  for (const sim::DefragRun& run : runs->front().by_seed) {
    std::string points;
    for (const double percent : kMovedPercents) {
      points +=
          fmt::format("{}[{:.3f},{:.3f}]", points.empty() ? "" : ",",
                      100.0 * static_cast<double>(run.at(percent).moves) / static_cast<double>(run.running),
                      run.allocation(percent));
    }
    rows += fmt::format("{}{{\"seed\":{},\"running\":{},\"refused\":{},\"points\":[{}]}}",
                        rows.empty() ? "" : ",\n", run.seed, run.running, run.refused, points);
  }
  return rows;
}

int run(int argc, char** argv) {
  std::string traces;
  size_t seeds = 10;
  bool timed = true;
  for (int i = 1; i + 1 < argc; i += 2) {
    if (std::string_view(argv[i]) == "--timings") timed = std::string_view(argv[i + 1]) != "no";
    if (std::string_view(argv[i]) == "--traces") traces = argv[i + 1];
    if (std::string_view(argv[i]) == "--seeds")
      seeds = parse_count(argv[i + 1], 1000, "--seeds").value_or(10);
  }
  std::string rows;
  for (const uint32_t nodes : {500u, 1000u, 1213u, 19'408u}) {
    if (!timed) break;
    std::vector<Timing> timings = victim_timings(nodes);
    if (nodes > 1000) {
      for (Timing& t : gang_timings(nodes)) timings.push_back(std::move(t));
    }
    for (const Timing& t : timings) {
      rows += fmt::format(
          "{}{{\"what\":\"{}\",\"nodes\":{},\"running\":{},\"first_us\":{:.1f},\"p50_us\":{:.1f},\"p99_us\":{"
          ":.1f},\"target_us\":{:.0f},\"result\":\"{}\"}}",
          rows.empty() ? "" : ",\n", t.what, t.nodes, t.running, t.first_us, t.p50_us, t.p99_us, t.target_us,
          t.result);
    }
  }
  std::string defrag;
  if (!traces.empty()) {
    const Result<std::string> rows_of_seeds = defrag_rows(traces, seeds);
    if (!rows_of_seeds) {
      fmt::print(stderr, "{}\n", to_string(rows_of_seeds.error()));
      return 1;
    }
    defrag = *rows_of_seeds;
  }
  fmt::print("{{\"timings\":[{}],\n\"defrag\":[{}]}}\n", rows, defrag);
  return 0;
}

}  // namespace
}  // namespace tweendeck::bench

int main(int argc, char** argv) {
  return tweendeck::bench::run(argc, argv);
}

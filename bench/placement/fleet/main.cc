// Prints the figures of the parts that move many claims at once, as one JSON object: see run.
//   tw_bench_fleet [--traces DIR] [--seeds N] [--timings no]
#include <fmt/format.h>

#include <string_view>

#include "base/units.h"
#include "fleet.h"

namespace tweendeck::bench {
namespace {

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
    const Result<std::vector<DefragRun>> runs =
        defrag_runs(traces, "default", seeds, {0, 0.5, 1, 2, 3, 4, 5, 7.5, 10});
    if (!runs) {
      fmt::print(stderr, "{}\n", to_string(runs.error()));
      return 1;
    }
    for (const DefragRun& r : *runs) {
      std::string points;
      for (const DefragPoint& p : r.points)
        points += fmt::format("{}[{:.3f},{:.3f}]", points.empty() ? "" : ",", p.moved_percent,
                              p.allocation_percent);
      defrag +=
          fmt::format("{}{{\"seed\":{},\"running\":{},\"refused\":{},\"seconds\":{:.2f},\"points\":[{}]}}",
                      defrag.empty() ? "" : ",\n", r.seed, r.running, r.refused, r.seconds, points);
    }
  }
  fmt::print("{{\"timings\":[{}],\n\"defrag\":[{}]}}\n", rows, defrag);
  return 0;
}

}  // namespace
}  // namespace tweendeck::bench

int main(int argc, char** argv) {
  return tweendeck::bench::run(argc, argv);
}

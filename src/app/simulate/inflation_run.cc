// The published experiment over workloads, policies and seeds.
#include <fmt/format.h>

#include "app/simulate/inflation_report.h"
#include "app/simulate/plots.h"
#include "app/simulate/runs.h"

namespace tweendeck::simulate {

namespace {

constexpr size_t kTablePoints[] = {80, 85, 90, 95, 100, 105, 110, 120, 130};

}  // namespace

Result<int> run_inflation(const Context& context) {
  Result<Policies> policies = policies_of(context.in);
  if (!policies) return fail(policies.error());
  Result<std::vector<uint32_t>> seeds = seeds_of(context.in);
  if (!seeds) return fail(seeds.error());
  Result<std::vector<sim::Workload>> workloads = workloads_of(context.in, true);
  if (!workloads) return fail(workloads.error());
  std::vector<InflationReport> reports;
  for (const sim::Workload& workload : *workloads) {
    cli::Progress progress(context.output);
    auto step = [&](size_t done, size_t runs) {
      progress.update(fmt::format("{}: {} of {} runs", workload.name, done, runs));
    };
    Result<std::vector<sim::PolicyRuns>> runs =
        sim::run_experiment(workload, {.policies = policies->names,
                                       .seeds = *seeds,
                                       .scale = static_cast<uint32_t>(context.in.count("scale")),
                                       .threads = threads_of(context.in),
                                       .progress = step,
                                       .stop = &context.stop});
    progress.done();
    if (!runs) return ended(runs.error());
    reports.push_back({workload.name,
                       std::move(*runs),
                       workload.pods.queues,
                       policies->compare_from,
                       {std::begin(kTablePoints), std::end(kTablePoints)}});
    if (!context.output.json) {
      if (reports.size() > 1) context.output.line("");
      context.output.print(report_table(reports.back(), context.output.out_color));
      context.output.flush();
    }
    if (Status drawn = write_plot(context, workload.name, workloads->size() > 1, plot_of(reports.back()));
        !drawn)
      return fail(drawn.error());
  }
  if (context.output.json) context.output.line(report_json(reports));
  return 0;
}

}  // namespace tweendeck::simulate

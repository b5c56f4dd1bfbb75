// What moving pods would gain after the published experiment.
#include <fmt/format.h>

#include "app/simulate/defrag_report.h"
#include "app/simulate/plots.h"
#include "app/simulate/runs.h"

namespace tweendeck::simulate {

Result<int> run_defrag(const Context& context) {
  const double most = context.in.number("defrag");
  if (!(most > 0 && most <= 100)) {
    return fail(Reason::InvalidArgument, fmt::format("--defrag is {:g}", most),
                "give the share of running pods that may be moved, in percent above 0, at most 100");
  }
  Result<Policies> policies = policies_of(context.in);
  if (!policies) return fail(policies.error());
  Result<std::vector<uint32_t>> seeds = seeds_of(context.in);
  if (!seeds) return fail(seeds.error());
  Result<std::vector<sim::Workload>> workloads = workloads_of(context.in, true);
  if (!workloads) return fail(workloads.error());
  std::vector<DefragReport> reports;
  for (const sim::Workload& workload : *workloads) {
    cli::Progress progress(context.output);
    sim::DefragOptions options;
    options.policies = policies->names;
    options.seeds = *seeds;
    options.most_moved_percent = most;
    options.scale = static_cast<uint32_t>(context.in.count("scale"));
    options.threads = threads_of(context.in);
    options.progress = [&](size_t done, size_t runs) {
      progress.update(fmt::format("{}: {} of {} runs", workload.name, done, runs));
    };
    options.stop = &context.stop;
    Result<std::vector<sim::DefragRuns>> runs = sim::run_defrag(workload, options);
    progress.done();
    if (!runs) return ended(runs.error());
    reports.push_back({workload.name, std::move(*runs), most});
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

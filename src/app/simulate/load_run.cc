// Pods that come, wait, run and leave: offered loads, and event logs.
#include <fmt/format.h>

#include <charconv>

#include "app/simulate/load_report.h"
#include "app/simulate/plots.h"
#include "app/simulate/runs.h"
#include "sim/trace/text_file.h"

namespace tweendeck::simulate {

namespace {

const std::vector<uint32_t> kDefaultSeeds = {1, 2, 3};

Result<std::vector<double>> loads_of(const cli::Invocation& in) {
  std::vector<double> loads;
  for (const std::string& word : in.list("load")) {
    double load = 0;
    auto [end, problem] =
        std::from_chars(word.data(), word.data() + word.size(), load, std::chars_format::fixed);
    if (problem != std::errc() || end != word.data() + word.size() ||
        !(load > 0 && load <= sim::kMaxLoadPercent)) {
      return fail(Reason::InvalidArgument, fmt::format("--load has '{}'", word),
                  fmt::format("give percents of the cluster's GPUs above 0, at most {:g}, like 90,100,110",
                              sim::kMaxLoadPercent));
    }
    loads.push_back(load);
  }
  return loads;
}

// What --load and --events have in common.
template <class RunWorkload>
Result<int> run_over_time(const Context& context, RunWorkload run_workload) {
  Result<Policies> policies = policies_of(context.in);
  if (!policies) return fail(policies.error());
  Result<std::vector<uint32_t>> seeds = seeds_of(context.in);
  if (!seeds) return fail(seeds.error());
  if (seeds->empty()) *seeds = kDefaultSeeds;
  Result<std::vector<sim::Workload>> workloads = workloads_of(context.in, false);
  if (!workloads) return fail(workloads.error());
  std::vector<LoadReport> reports;
  for (const sim::Workload& workload : *workloads) {
    cli::Progress progress(context.output);
    sim::LoadExperiment options;
    options.policies = policies->names;
    options.seeds = *seeds;
    options.arrivals = context.in.count("arrivals");
    options.longest_s = context.in.duration("longest") / kSecond;
    options.scale = static_cast<uint32_t>(context.in.count("scale"));
    options.threads = threads_of(context.in);
    options.progress = [&](size_t done, size_t runs) {
      progress.update(fmt::format("{}: {} of {} runs", workload.name, done, runs));
    };
    options.stop = &context.stop;
    Result<std::vector<sim::LoadRuns>> runs = run_workload(workload, options);
    progress.done();
    if (!runs) return ended(runs.error());
    reports.push_back({workload.name, std::move(*runs), workload.pods.queues, seeds->size()});
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

}  // namespace

Result<int> run_load(const Context& context) {
  Result<std::vector<double>> loads = loads_of(context.in);
  if (!loads) return fail(loads.error());
  return run_over_time(context, [&](const sim::Workload& workload, sim::LoadExperiment& options) {
    options.loads = *loads;
    return sim::run_loads(workload, options);
  });
}

Result<int> run_events(const Context& context) {
  return run_over_time(
      context,
      [&](const sim::Workload& workload, sim::LoadExperiment& options) -> Result<std::vector<sim::LoadRuns>> {
        const std::string file = context.in.text("events");
        Result<std::string> text = sim::read_text_file(file);
        if (!text) return fail(text.error());
        Result<std::vector<sim::TimelineEvent>> events =
            sim::parse_event_log(*text, file, workload.nodes, workload.pods);
        if (!events) return fail(events.error());
        return sim::run_events(workload, *events, options);
      });
}

}  // namespace tweendeck::simulate

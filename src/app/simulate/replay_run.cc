// The placement engine fed with a log or a trace: how it stands then, and why a claim waits.
#include <fmt/format.h>

#include "app/simulate/replay_report.h"
#include "app/simulate/runs.h"
#include "base/clock.h"
#include "sim/experiment.h"
#include "sim/policies.h"
#include "sim/trace/text_file.h"

namespace tweendeck::simulate {

namespace {

Result<sim::ReplaySettings> settings_of(const cli::Invocation& in) {
  Result<Policies> policies = policies_of(in);
  if (!policies) return fail(policies.error());
  if (policies->names.size() != 1)
    return fail(Reason::InvalidArgument, "--log and --why take one policy", "name one with --policy");
  const std::string& name = policies->names.front();
  sim::ReplaySettings settings;
  settings.policy = sim::engine_policy_of(name);
  if (name != settings.policy && name != "engine:" + settings.policy) {
    return fail(
        Reason::Unsupported,
        fmt::format("policy {} is a published reference; --log and --why ask the placement engine", name),
        "name a policy of the engine, like " + std::string(sim::default_policy()) + " or fgd");
  }
  if (in.is_set("at")) settings.until_ms = in.duration("at") / kMillisecond;
  settings.preempt = in.on("preempt");
  settings.starts_at_once = in.on("starts-at-once");
  return settings;
}

// A trace's order of arrival, one per millisecond.
std::vector<sim::TimelineEvent> events_of(const sim::Order& order) {
  std::vector<sim::TimelineEvent> events;
  for (const uint32_t row : order.arrivals) {
    sim::TimelineEvent event;
    event.at_ms = static_cast<int64_t>(events.size());
    event.subject = row;
    events.push_back(event);
  }
  return events;
}

Result<std::unique_ptr<sim::EngineReplay>> replay_of(const cli::Invocation& in,
                                                     const sim::ReplaySettings& settings) {
  if (in.is_set("log")) {
    Result<std::string> text = sim::read_text_file(in.text("log"));
    if (!text) return fail(text.error());
    return sim::EngineReplay::of_log(*text, in.text("log"), settings);
  }
  const bool logged = in.is_set("events");
  Result<std::vector<sim::Workload>> workloads = workloads_of(in, !logged);
  if (!workloads) return fail(workloads.error());
  if (workloads->size() != 1)
    return fail(Reason::InvalidArgument, "--why is asked of one workload", "name it with --workload");
  const sim::Workload& workload = workloads->front();
  if (logged) {
    const std::string file = in.text("events");
    Result<std::string> text = sim::read_text_file(file);
    if (!text) return fail(text.error());
    Result<std::vector<sim::TimelineEvent>> events =
        sim::parse_event_log(*text, file, workload.nodes, workload.pods);
    if (!events) return fail(events.error());
    return sim::EngineReplay::of_trace(workload, *events, settings);
  }
  Result<std::vector<uint32_t>> seeds = seeds_of(in);
  if (!seeds) return fail(seeds.error());
  Result<std::vector<sim::Order>> orders = sim::chosen_orders(workload, *seeds, 1);
  if (!orders) return fail(orders.error());
  return sim::EngineReplay::of_trace(workload, events_of(orders->front()), settings);
}

}  // namespace

Result<int> run_replay(const Context& context) {
  Result<sim::ReplaySettings> settings = settings_of(context.in);
  if (!settings) return fail(settings.error());
  Result<std::unique_ptr<sim::EngineReplay>> replayed = replay_of(context.in, *settings);
  if (!replayed) return fail(replayed.error());
  sim::EngineReplay& replay = **replayed;
  if (const sim::Refusals& refused = replay.refusals(); refused.count > 0) {
    context.output.note(fmt::format("{} of {} events changed nothing; the first: {}", refused.count,
                                    replay.events(), refused.first));
  }
  Supposed supposed;
  for (const std::string& line : context.in.each("what-if")) {
    Result<std::vector<placement::ClaimDecision>> decisions = replay.suppose(line);
    if (!decisions) return fail(decisions.error());
    supposed.lines.push_back(line);
    supposed.decisions.insert(supposed.decisions.end(), decisions->begin(), decisions->end());
  }
  placement::ClaimId claim = replay.last_supposed();
  if (context.in.is_set("why")) {
    Result<placement::ClaimId> found = replay.find(context.in.text("why"));
    if (!found) return fail(found.error());
    claim = *found;
  }
  if (claim == 0) {
    const std::string source = context.in.is_set("log") ? context.in.text("log") : "the trace";
    if (context.output.json)
      context.output.line(state_json(replay, supposed));
    else
      context.output.print(state_text(replay, source, supposed, context.output.out_color));
    return 0;
  }
  Result<placement::ClaimReport> report = replay.why(claim);
  if (!report) return fail(report.error());
  if (context.output.json)
    context.output.line(claim_json(replay, supposed, *report));
  else
    context.output.print(claim_text(replay, supposed, *report));
  return 0;
}

}  // namespace tweendeck::simulate

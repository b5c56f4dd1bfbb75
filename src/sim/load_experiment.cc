#include "sim/load_experiment.h"

#include <algorithm>
#include <mutex>
#include <numeric>

#include "sim/parallel.h"
#include "sim/policies.h"
#include "sim/random.h"

namespace tweendeck::sim {

namespace {

template <class Value>
double mean(const std::vector<TimelineResult>& results, Value value) {
  double sum = 0;
  for (const TimelineResult& result : results) sum += value(result);
  return results.empty() ? 0 : sum / static_cast<double>(results.size());
}

// Without an order of ties in the trace, a shuffled one: no policy may live on the order of node names.
std::vector<uint32_t> shuffled_ranks(size_t nodes, uint64_t seed) {
  std::vector<uint32_t> ranks(nodes);
  std::iota(ranks.begin(), ranks.end(), 0u);
  Random random(seed);
  for (size_t at = nodes; at > 1; --at) std::swap(ranks[at - 1], ranks[random.below(at)]);
  return ranks;
}

struct Piece {
  size_t result;  // index of the results
  size_t seed;    // index of the seeds
  const Timeline* timeline;
};

class Runner {
 public:
  Runner(const Workload& workload, const LoadExperiment& options)
      : workload_(workload), options_(options), nodes_(repeat_nodes(workload.nodes, options.scale)) {}

  const NodeList& nodes() const { return nodes_; }

  Result<std::vector<LoadRuns>> run(std::vector<LoadRuns> results, const std::vector<Piece>& pieces) {
    std::mutex mutex;
    size_t done_runs = 0;
    Status done = in_parallel(options_.threads, pieces.size(), options_.stop, [&](size_t at) -> Status {
      const Piece& piece = pieces[at];
      Result<TimelineResult> result =
          play(results[piece.result].policy, options_.seeds[piece.seed], *piece.timeline);
      if (!result) return fail(result.error());
      std::lock_guard lock(mutex);
      results[piece.result].by_seed[piece.seed] = std::move(*result);
      ++done_runs;
      if (options_.progress) options_.progress(done_runs, pieces.size());
      return {};
    });
    if (!done) return fail(done.error());
    return results;
  }

 private:
  Result<TimelineResult> play(const std::string& policy, uint32_t seed, const Timeline& timeline) const {
    Result<std::unique_ptr<SchedulerMaker>> maker = make_scheduler_maker(policy, nodes_, workload_.pods);
    if (!maker) return fail(maker.error());
    const std::vector<uint32_t> ranks = shuffled_ranks(nodes_.nodes.size(), seed);
    Book book(nodes_);
    Result<std::unique_ptr<Scheduler>> scheduler = (*maker)->start(book, ranks);
    if (!scheduler) return fail(scheduler.error());
    return run_timeline(book, **scheduler, workload_.pods, timeline);
  }

  const Workload& workload_;
  const LoadExperiment& options_;
  NodeList nodes_;
};

}  // namespace

double LoadRuns::mean_wait_s() const {
  return mean(by_seed, [](const TimelineResult& result) { return result.all.mean_wait_s(); });
}
double LoadRuns::allocation_percent() const {
  return mean(by_seed, [](const TimelineResult& result) { return result.allocation_percent; });
}

Result<std::vector<LoadRuns>> run_loads(const Workload& workload, const LoadExperiment& options) {
  Runner runner(workload, options);
  std::vector<Timeline> streams;
  for (double load : options.loads) {
    for (uint32_t seed : options.seeds) {
      Result<Timeline> stream = make_stream(
          runner.nodes(), workload.pods, {load, options.arrivals * options.scale, seed, options.longest_s});
      if (!stream) return fail(stream.error());
      streams.push_back(std::move(*stream));
    }
  }
  std::vector<LoadRuns> results;
  std::vector<Piece> pieces;
  for (size_t load = 0; load < options.loads.size(); ++load) {
    for (const std::string& policy : options.policies) {
      results.push_back({policy, options.loads[load], std::vector<TimelineResult>(options.seeds.size())});
      for (size_t seed = 0; seed < options.seeds.size(); ++seed)
        pieces.push_back({results.size() - 1, seed, &streams[load * options.seeds.size() + seed]});
    }
  }
  return runner.run(std::move(results), pieces);
}

Result<std::vector<LoadRuns>> run_events(const Workload& workload, const std::vector<TimelineEvent>& events,
                                         const LoadExperiment& options) {
  Runner runner(workload, options);
  Timeline timeline;
  timeline.events = events;
  for (const TimelineEvent& event : events)
    timeline.end_ms = std::max(timeline.end_ms, event.at_ms + std::max<int64_t>(event.lifetime_ms, 0));
  std::vector<LoadRuns> results;
  std::vector<Piece> pieces;
  for (const std::string& policy : options.policies) {
    results.push_back({policy, 0, std::vector<TimelineResult>(options.seeds.size())});
    for (size_t seed = 0; seed < options.seeds.size(); ++seed)
      pieces.push_back({results.size() - 1, seed, &timeline});
  }
  return runner.run(std::move(results), pieces);
}

}  // namespace tweendeck::sim

#include "sim/experiment.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <mutex>

#include "sim/parallel.h"
#include "sim/policies.h"

namespace tweendeck::sim {

namespace {

double mean(const std::vector<SeedRun>& runs, size_t percent, Curve Inflation::* curve) {
  double sum = 0;
  size_t count = 0;
  for (const SeedRun& run : runs) {
    if (!(run.result.*curve).has(percent)) continue;
    sum += static_cast<double>((run.result.*curve).hundredths(percent)) / 100;
    ++count;
  }
  return count == 0 ? std::numeric_limits<double>::quiet_NaN() : sum / static_cast<double>(count);
}

// Seeds first, first + step, ... of one policy: they share what its maker keeps.
struct Piece {
  size_t policy, first, step;
};

}  // namespace

Result<std::vector<Order>> chosen_orders(const Workload& workload, const std::vector<uint32_t>& seeds,
                                         uint32_t scale) {
  std::vector<Order> orders;
  if (seeds.empty()) orders = workload.orders;
  for (uint32_t seed : seeds) {
    auto order = std::ranges::find(workload.orders, seed, &Order::seed);
    if (order == workload.orders.end()) {
      return fail(Reason::NotFound,
                  fmt::format("workload {} has no arrival order of seed {}", workload.name, seed),
                  fmt::format("its first seed is {}, its last {}", workload.orders.front().seed,
                              workload.orders.back().seed));
    }
    orders.push_back(*order);
  }
  for (Order& order : orders) order = repeat_order(order, scale);
  return orders;
}

double PolicyRuns::allocation(size_t percent) const {
  return mean(runs, percent, &Inflation::allocation);
}
double PolicyRuns::fragmentation(size_t percent) const {
  return mean(runs, percent, &Inflation::fragmentation);
}
size_t PolicyRuns::percents() const {
  size_t most = 0;
  for (const SeedRun& run : runs) most = std::max(most, run.result.allocation.size());
  return most;
}

Result<std::vector<PolicyRuns>> run_experiment(const Workload& workload, const ExperimentOptions& options) {
  Result<std::vector<Order>> orders = chosen_orders(workload, options.seeds, options.scale);
  if (!orders) return fail(orders.error());
  const NodeList nodes = repeat_nodes(workload.nodes, options.scale);
  const std::vector<TypicalPod> typical = typical_pods(workload.pods);
  std::vector<PolicyRuns> results;
  std::vector<Piece> pieces;
  const size_t stripes = std::min<size_t>(options.threads, orders->size());
  for (size_t policy = 0; policy < options.policies.size(); ++policy) {
    results.push_back({options.policies[policy], std::vector<SeedRun>(orders->size())});
    for (size_t first = 0; first < stripes; ++first) pieces.push_back({policy, first, stripes});
  }
  std::mutex mutex;
  size_t done_runs = 0;
  auto run_piece = [&](size_t at) -> Status {
    const Piece& piece = pieces[at];
    Result<std::unique_ptr<SchedulerMaker>> maker =
        make_scheduler_maker(options.policies[piece.policy], nodes, workload.pods);
    if (!maker) return fail(maker.error());
    for (size_t seed = piece.first; seed < orders->size(); seed += piece.step) {
      if (options.stop != nullptr && *options.stop) return fail(Reason::Cancelled, "interrupted");
      const Order& order = (*orders)[seed];
      Book book(nodes);
      Result<std::unique_ptr<Scheduler>> scheduler = (*maker)->start(book, order.ranks);
      if (!scheduler) return fail(scheduler.error());
      Result<Inflation> inflation = inflate(book, **scheduler, workload.pods, order.arrivals, typical);
      if (!inflation) return fail(inflation.error());
      std::lock_guard lock(mutex);
      results[piece.policy].runs[seed] = {order.seed, std::move(*inflation)};
      ++done_runs;
      if (options.progress) options.progress(done_runs, orders->size() * options.policies.size());
    }
    return {};
  };
  Status done = in_parallel(options.threads, pieces.size(), options.stop, run_piece);
  if (!done) return fail(done.error());
  return results;
}

}  // namespace tweendeck::sim

#include "sim/defrag.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <mutex>

#include "placement/defrag/advisor.h"
#include "placement/policy/make_policy.h"
#include "sim/engine_facts.h"
#include "sim/experiment.h"
#include "sim/parallel.h"
#include "sim/policies.h"

namespace tweendeck::sim {

namespace {

struct Final {                                       // what the policy leaves
  std::vector<std::pair<uint32_t, Placed>> running;  // row of the pod list and where
  std::map<uint32_t, uint32_t> refused;              // by row
};

Result<Final> fill(Book& book, Scheduler& scheduler, const PodList& pods, const Order& order) {
  Final left;
  for (uint64_t claim = 0; claim < order.arrivals.size(); ++claim) {
    const uint32_t row = order.arrivals[claim];
    scheduler.arrived(row);
    const std::optional<Placed> placed = scheduler.place(claim, row);
    if (!placed) {
      ++left.refused[row];
      continue;
    }
    if (Status entered = book.place(pods.pods[row], *placed); !entered) return fail(entered.error());
    scheduler.changed(placed->node);
    left.running.emplace_back(row, *placed);
  }
  return left;
}

// The same state in the engine's book, and its advisor's proposals carried out in the simulation's.
class Carrier {
 public:
  Carrier(Book& book, const NodeList& nodes, const PodList& pods) : book_(book), nodes_(nodes), pods_(pods) {}

  Status load(const Final& left) {
    for (const TraceNode& node : nodes_.nodes) {
      Result<placement::NodeIndex> index = cluster_.put_node(facts_of(node, nodes_));
      if (!index) return fail(index.error());
    }
    for (const TracePod& pod : pods_.pods) {
      Result<placement::ShapeId> shape = cluster_.shape_id(request_of(pod, nodes_));
      if (!shape) return fail(shape.error());
      shapes_.push_back(*shape);
    }
    for (const auto& [row, placed] : left.running) {
      placement::RunningClaim claim;
      claim.id = rows_.size();
      claim.shape = shapes_[row];
      claim.spot = placement::Spot{placed.node, placed.gpus, {}};
      cluster_.take(claim.spot, claim.shape);
      running_.add(claim);
      rows_.push_back(row);
    }
    return {};
  }

  placement::Advice advise(placement::Policy& policy, const Final& left, const Order& order,
                           uint64_t most_moves) {
    for (const uint32_t row : order.arrivals) policy.arrived(shapes_[row]);
    std::map<placement::ShapeId, uint32_t> offered;
    for (const auto& [row, count] : left.refused) {
      if (pods_.pods[row].gpus == 0) continue;  // gains no GPU
      offered[shapes_[row]] += count;
      row_of_[shapes_[row]] = row;
    }
    std::vector<placement::Wanted> wanted;
    for (const auto& [shape, count] : offered) wanted.push_back({shape, count});
    return placement::advise(cluster_, policy, running_, std::move(wanted), {most_moves, 0});
  }

  Status carry_out(const placement::Proposal& proposal) {
    for (const placement::Move& move : proposal.moves) book_.release(pod_of(move), placed_at(move.from));
    for (const placement::Move& move : proposal.moves) {
      if (Status moved = book_.place(pod_of(move), placed_at(move.to)); !moved) return moved;
    }
    return book_.place(pods_.pods[row_of_.at(proposal.wanted)], placed_at(proposal.spot));
  }

 private:
  static Placed placed_at(const placement::Spot& spot) {
    return {spot.node, static_cast<uint8_t>(spot.devices)};
  }
  const TracePod& pod_of(const placement::Move& move) const { return pods_.pods[rows_[move.claim]]; }

  Book& book_;
  const NodeList& nodes_;
  const PodList& pods_;
  placement::Cluster cluster_;
  placement::RunningClaims running_;
  std::vector<placement::ShapeId> shapes_;         // by row of the pod list
  std::vector<uint32_t> rows_;                     // by claim
  std::map<placement::ShapeId, uint32_t> row_of_;  // one of those that ask for the shape
};

Result<DefragRun> run_seed(SchedulerMaker& maker, const std::string& policy_name, const NodeList& nodes,
                           const PodList& pods, const Order& order, double most_moved_percent) {
  Book book(nodes);
  Result<std::unique_ptr<Scheduler>> scheduler = maker.start(book, order.ranks);
  if (!scheduler) return fail(scheduler.error());
  Result<Final> left = fill(book, **scheduler, pods, order);
  if (!left) return fail(left.error());
  Carrier carrier(book, nodes, pods);
  if (Status loaded = carrier.load(*left); !loaded) return fail(loaded.error());
  Result<std::unique_ptr<placement::Policy>> policy =
      placement::make_policy({engine_policy_of(policy_name), {}});
  if (!policy) return fail(policy.error());

  DefragRun run;
  run.seed = order.seed;
  run.running = left->running.size();
  for (const auto& [row, count] : left->refused) run.refused += count;
  run.total_milli = book.total_milli();
  run.allocated_milli = book.allocated_milli();
  const auto most = static_cast<uint64_t>(most_moved_percent / 100 * static_cast<double>(run.running));
  DefragStep step;
  for (const placement::Proposal& proposal : carrier.advise(**policy, *left, order, most).proposals) {
    if (Status done = carrier.carry_out(proposal); !done) return fail(done.error());
    step.moves += proposal.moves.size();
    ++step.placed;
    step.allocated_milli = book.allocated_milli();
    run.steps.push_back(step);
  }
  return run;
}

}  // namespace

DefragStep DefragRun::at(double moved_percent) const {
  DefragStep found{0, 0, allocated_milli};
  for (const DefragStep& step : steps) {
    if (static_cast<double>(step.moves) > moved_percent / 100 * static_cast<double>(running)) break;
    found = step;
  }
  return found;
}

double DefragRun::allocation(double moved_percent) const {
  return 100.0 * static_cast<double>(at(moved_percent).allocated_milli) / static_cast<double>(total_milli);
}

double DefragRuns::allocation(double moved_percent) const {
  double sum = 0;
  for (const DefragRun& run : by_seed) sum += run.allocation(moved_percent);
  return sum / static_cast<double>(by_seed.size());
}

double DefragRuns::moved(double moved_percent) const {
  double sum = 0;
  for (const DefragRun& run : by_seed)
    sum += 100.0 * static_cast<double>(run.at(moved_percent).moves) / static_cast<double>(run.running);
  return sum / static_cast<double>(by_seed.size());
}

Result<std::vector<DefragRuns>> run_defrag(const Workload& workload, const DefragOptions& options) {
  Result<std::vector<Order>> orders = chosen_orders(workload, options.seeds, options.scale);
  if (!orders) return fail(orders.error());
  const NodeList nodes = repeat_nodes(workload.nodes, options.scale);
  std::vector<DefragRuns> results;
  for (const std::string& policy : options.policies)
    results.push_back({policy, std::vector<DefragRun>(orders->size())});
  std::mutex mutex;
  size_t done_runs = 0;
  const size_t runs = options.policies.size() * orders->size();
  auto run_piece = [&](size_t at) -> Status {
    if (options.stop != nullptr && *options.stop) return fail(Reason::Cancelled, "interrupted");
    const std::string& policy = options.policies[at / orders->size()];
    const size_t seed = at % orders->size();
    Result<std::unique_ptr<SchedulerMaker>> maker = make_scheduler_maker(policy, nodes, workload.pods);
    if (!maker) return fail(maker.error());
    Result<DefragRun> run =
        run_seed(**maker, policy, nodes, workload.pods, (*orders)[seed], options.most_moved_percent);
    if (!run) return fail(run.error());
    std::lock_guard lock(mutex);
    results[at / orders->size()].by_seed[seed] = std::move(*run);
    ++done_runs;
    if (options.progress) options.progress(done_runs, runs);
    return {};
  };
  if (Status done = in_parallel(options.threads, runs, options.stop, run_piece); !done)
    return fail(done.error());
  return results;
}

}  // namespace tweendeck::sim

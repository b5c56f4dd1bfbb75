#include "placement/defrag/advisor.h"

#include <fmt/format.h>

#include <map>

#include "base/units.h"
#include "fleet.h"
#include "placement/policy/make_policy.h"
#include "sim/dataset.h"
#include "sim/reference_scheduler.h"

namespace tweendeck::bench {
namespace {

using namespace placement;

Result<DefragRun> run_seed(const sim::Workload& workload, const sim::Order& order,
                           const std::vector<double>& moved_percents) {
  // FGD's final state.
  Result<std::unique_ptr<sim::SchedulerMaker>> maker = sim::make_reference("fgd", workload.pods);
  if (!maker) return fail(maker.error());
  sim::Book book(workload.nodes);
  Result<std::unique_ptr<sim::Scheduler>> scheduler = (*maker)->start(book, order.ranks);
  if (!scheduler) return fail(scheduler.error());
  std::vector<std::pair<uint32_t, sim::Placed>> placed;
  std::map<uint32_t, uint32_t> refused;  // by row
  for (uint64_t claim = 0; claim < order.arrivals.size(); ++claim) {
    const uint32_t row = order.arrivals[claim];
    const std::optional<sim::Placed> spot = (*scheduler)->place(claim, row);
    if (!spot) {
      ++refused[row];
      continue;
    }
    if (Status entered = book.place(workload.pods.pods[row], *spot); !entered) return fail(entered.error());
    (*scheduler)->changed(spot->node);
    placed.emplace_back(row, *spot);
  }
  // The same state in the engine's book.
  Cluster cluster;
  for (const sim::TraceNode& node : workload.nodes.nodes) {
    NodeFacts facts;
    facts.name = node.name;
    facts.cpu_milli = static_cast<uint32_t>(node.cpu_milli);
    facts.memory_bytes = static_cast<uint64_t>(node.memory_mib) * kMiB;
    for (int gpu = 0; gpu < node.gpus; ++gpu) {
      DeviceFacts device;
      device.id = fmt::format("{}/{}", node.name, gpu);
      device.model = workload.nodes.models[node.model];
      facts.devices.push_back(std::move(device));
    }
    if (Result<NodeIndex> index = cluster.put_node(facts); !index) return fail(index.error());
  }
  std::vector<ShapeId> shapes;
  for (const sim::TracePod& pod : workload.pods.pods) {
    Request request;
    request.cpu_milli = static_cast<uint32_t>(pod.cpu_milli);
    request.node_memory_bytes = static_cast<uint64_t>(pod.memory_mib) * kMiB;
    request.devices = pod.gpus;
    request.compute_permille = static_cast<uint32_t>(pod.gpu_milli);
    for (size_t model = 0;
         pod.gpus > 0 && pod.models != sim::kAnyModel && model < workload.nodes.models.size(); ++model) {
      if ((pod.models >> model & 1) != 0) request.models.push_back(workload.nodes.models[model]);
    }
    Result<ShapeId> shape = cluster.shape_id(request);
    if (!shape) return fail(shape.error());
    shapes.push_back(*shape);
  }
  Result<std::unique_ptr<Policy>> policy = make_policy({"fgd", {}});
  if (!policy) return fail(policy.error());
  for (const uint32_t row : order.arrivals) (*policy)->arrived(shapes[row]);
  RunningClaims running;
  for (const auto& [row, spot] : placed) {
    RunningClaim claim;
    claim.id = running.size() + 1;
    claim.shape = shapes[row];
    claim.spot = Spot{spot.node, spot.gpus, {}};
    cluster.take(claim.spot, claim.shape);
    running.add(claim);
  }
  std::map<ShapeId, uint32_t> by_shape;
  DefragRun run;
  run.seed = order.seed;
  run.running = running.size();
  for (const auto& [row, count] : refused) {
    run.refused += count;
    // CPU-only pods gain no device.
    if (workload.pods.pods[row].gpus > 0) by_shape[shapes[row]] += count;
  }
  std::vector<Wanted> wanted;
  for (const auto& [shape, count] : by_shape) wanted.push_back({shape, count});
  const auto most = static_cast<uint64_t>(moved_percents.back() / 100 * static_cast<double>(run.running));
  const double start = cpu_us();
  const Advice advice = advise(cluster, **policy, running, wanted, {most, 0});
  run.seconds = (cpu_us() - start) / 1e6;
  for (const double percent : moved_percents) {
    DefragPoint point{
        0, 100.0 * static_cast<double>(book.allocated_milli()) / static_cast<double>(book.total_milli())};
    uint64_t moves = 0;
    for (const Proposal& proposal : advice.proposals) {
      if (static_cast<double>(moves + proposal.moves.size()) >
          percent / 100 * static_cast<double>(run.running))
        break;
      moves += proposal.moves.size();
      point.allocation_percent +=
          100.0 * static_cast<double>(proposal.gain) / static_cast<double>(book.total_milli());
    }
    point.moved_percent = 100.0 * static_cast<double>(moves) / static_cast<double>(run.running);
    run.points.push_back(point);
  }
  return run;
}

}  // namespace

Result<std::vector<DefragRun>> defrag_runs(const std::string& folder, const std::string& workload,
                                           size_t seeds, const std::vector<double>& moved_percents) {
  Result<sim::Workload> loaded = sim::load_workload_of(folder, workload);
  if (!loaded) return fail(loaded.error());
  std::vector<DefragRun> runs;
  for (const sim::Order& order : loaded->orders) {
    if (runs.size() == seeds) break;
    Result<DefragRun> run = run_seed(*loaded, order, moved_percents);
    if (!run) return fail(run.error());
    runs.push_back(std::move(*run));
  }
  return runs;
}

}  // namespace tweendeck::bench

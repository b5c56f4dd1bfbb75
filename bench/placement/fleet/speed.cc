#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <ctime>

#include "base/clock.h"
#include "fleet.h"
#include "placement/gang/devices.h"
#include "placement/gang/gang.h"
#include "placement/policy/make_policy.h"
#include "placement/preempt/victims.h"

namespace tweendeck::bench {
namespace {

using namespace placement;

constexpr uint32_t kRackNodes = 128, kBlockRacks = 8, kDevices = 8;
constexpr int kRounds = 200;
constexpr uint64_t kGiB = 1ull << 30;

void must(bool ok, const char* what) {
  if (ok) return;
  fmt::print(stderr, "bench/placement/fleet: {}\n", what);
  std::exit(1);
}

void fill_in(Timing& timing, std::vector<double> times) {
  timing.first_us = times.front();
  times.erase(times.begin());
  std::ranges::sort(times);
  timing.p50_us = times[times.size() / 2];
  timing.p99_us = times[times.size() * 99 / 100];
}

Cluster machines(uint32_t nodes) {
  Cluster cluster;
  for (uint32_t n = 0; n < nodes; ++n) {
    NodeFacts facts;
    facts.name = fmt::format("node-{}", n);
    facts.cpu_milli = 96'000;
    facts.memory_bytes = 768 * kGiB;
    facts.rack = fmt::format("rack-{}", n / kRackNodes);
    facts.block = fmt::format("block-{}", n / kRackNodes / kBlockRacks);
    for (uint32_t d = 0; d < kDevices; ++d) {
      DeviceFacts device;
      device.id = fmt::format("{}/{}", facts.name, d);
      device.vendor = "NVIDIA";
      device.model = "H100";
      device.memory_bytes = 80 * kGiB;
      facts.devices.push_back(device);
    }
    must(cluster.put_node(facts).has_value(), "a node was refused");
  }
  return cluster;
}

ShapeId shape_of(Cluster& cluster, uint32_t devices, uint32_t compute) {
  Request request;
  request.cpu_milli = 4000;
  request.devices = devices;
  request.compute_permille = compute;
  request.memory_bytes = compute * (80 * kGiB / 1000);
  const Result<ShapeId> shape = cluster.shape_id(request);
  must(shape.has_value(), "a shape was refused");
  return *shape;
}

Spot take(Cluster& cluster, NodeIndex node, ShapeId shape) {
  const Spot spot = cluster.spot(node, choose_devices(cluster, node, shape), shape);
  cluster.take(spot, shape);
  return spot;
}

}  // namespace

double cpu_us() {
  timespec time{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &time);
  return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_nsec) / 1e3;
}

std::vector<Timing> gang_timings(uint32_t nodes) {
  Cluster cluster = machines(nodes);
  Random random(1);
  const ShapeId share = shape_of(cluster, 1, 300), one = shape_of(cluster, 1, 1000);
  for (uint32_t k = 0; k < nodes * 4; ++k) {  // about two in five devices are used in part
    const auto node = static_cast<NodeIndex>(random.below(nodes));
    if (cluster.fits(node, share)) take(cluster, node, share);
  }
  auto policy = make_policy({});
  must(policy.has_value(), "no policy");
  std::vector<Timing> timings;
  const auto measure = [&](const char* what, uint32_t members, Outcome outcome) {
    GangPlacer placer;
    const Gang gang{{{one, members, members, Level::Cluster}}, Level::Rack};
    std::vector<double> times;
    GangVerdict verdict;
    for (int round = 0; round < kRounds; ++round) {
      for (int k = 0; k < 20; ++k) {  // what happened since the last gang
        const auto node = static_cast<NodeIndex>(random.below(nodes));
        if (cluster.fits(node, share)) cluster.give(take(cluster, node, share), share);
      }
      const Cluster::Mark mark = cluster.mark();
      const double start = cpu_us();
      verdict = placer.place(cluster, **policy, gang);
      times.push_back(cpu_us() - start);
      must(verdict.outcome == outcome, "a gang had another verdict than it must have");
      cluster.undo_to(mark);
    }
    Timing timing{what,
                  nodes,
                  0,
                  0,
                  0,
                  0,
                  1000,
                  outcome == Outcome::Placed
                      ? fmt::format("{} members in one rack", verdict.members.size())
                      : fmt::format("{}: best rack has {}", to_string(verdict.reason), verdict.best)};
    fill_in(timing, times);
    timings.push_back(timing);
  };
  measure("gang of 512, one rack", 512, Outcome::Placed);
  measure("gang of 1,024, one rack: infeasible", 1024, Outcome::Infeasible);
  return timings;
}

std::vector<Timing> victim_timings(uint32_t nodes) {
  Cluster cluster = machines(nodes);
  Random random(2);
  const ShapeId one = shape_of(cluster, 1, 1000), eight = shape_of(cluster, 8, 1000);
  Queues queues;
  Amounts capacity{};
  capacity[placement::kDevices] = nodes * kDevices;
  queues.set_capacity(capacity, 0);
  const QueueId mine = *queues.put({"mine", "", 1, {{"devices", nodes * kDevices / 2, kUnlimited}}});
  const QueueId other = *queues.put({"other", "", 1, {}});
  RunningClaims running;
  Amounts single{};
  single[placement::kDevices] = 1;
  for (NodeIndex n = 0; n < nodes; ++n) {
    for (uint32_t d = 0; d < kDevices; ++d) {
      RunningClaim claim;
      claim.id = running.size() + 1;
      claim.shape = one;
      claim.spot = take(cluster, n, one);
      claim.queue = other;
      claim.priority = static_cast<int32_t>(random.below(4));
      claim.started_ms = static_cast<int64_t>(random.below(1'000'000));
      claim.charged = single;
      queues.charge(other, single, 0);
      running.add(claim);
    }
  }
  Amounts waiting{};
  waiting[placement::kDevices] = nodes * kDevices;
  queues.add_pending(mine, waiting);
  std::vector<Timing> timings;
  const auto measure = [&](const char* what, ShapeId shape, uint32_t members, uint32_t devices, QueueId queue,
                           double target, int rounds) {
    GangPlacer placer;
    Preemptor preemptor;
    preemptor.shape = shape;
    preemptor.members = members;
    preemptor.queue = queue;
    preemptor.priority = 9;
    preemptor.ask[placement::kDevices] = int64_t{members} * devices;
    std::vector<double> times;
    Victims victims;
    for (int round = 0; round < rounds; ++round) {
      const double start = cpu_us();
      victims = find_victims(cluster, placer, running, &queues, preemptor, 2'000'000);
      times.push_back(cpu_us() - start);
      must(victims.claims.size() == size_t{members} * devices,
           "another number of victims than devices asked for");
    }
    Timing timing{what, nodes, running.size(), 0,
                  0,    0,     target,         fmt::format("{} victims", victims.claims.size())};
    fill_in(timing, times);
    timings.push_back(timing);
  };
  measure("preempt for 1 GPU", one, 1, 1, other, 1000, kRounds);
  measure("reclaim 1 GPU from another queue", one, 1, 1, mine, 1000, kRounds);
  if (nodes * kDevices >= 4000) {
    measure("reclaim 2,000 GPUs, 2,000 members", one, 2000, 1, mine, 20'000, 30);
    measure("reclaim 2,000 GPUs, 250 members of 8", eight, 250, 8, mine, 20'000, 30);
  }
  return timings;
}

}  // namespace tweendeck::bench

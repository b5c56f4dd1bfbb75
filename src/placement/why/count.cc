#include "placement/why/count.h"

#include <algorithm>
#include <bit>

namespace tweendeck::placement {

// What the nodes of a type need to have free of CPU and memory to be as near as the nearest so far, when that is all that
// they lack.
struct Counter::Host {
  uint64_t cpu_capacity = 0;
  uint64_t memory_capacity = 0;
  int64_t cpu_asked = 0;
  int64_t memory_asked = 0;
  struct Least {
    bool possible = true;
    int64_t cpu = INT64_MIN;
    int64_t memory = INT64_MIN;
    bool has(int64_t free_cpu, int64_t free_memory) const {
      return possible && free_cpu >= cpu && free_memory >= memory;
    }
  };
  Least as_near;  // for nodes that win a tie
  Least nearer;   // for others

  void refresh(const Nearness& nearest) {
    if (nearest.distance > distance(Reason::InsufficientCpu)) return;
    as_near = nearer = Least();
    if (nearest.missing > 0) return;
    as_near = up_to(nearest.shortfall);
    nearer = nearest.shortfall > 0 ? up_to(nearest.shortfall - 1) : Least{false, 0, 0};
  }

 private:
  Least up_to(uint32_t permille) const {
    return {true, less(cpu_asked, largest_lack(permille, cpu_capacity)),
            less(memory_asked, largest_lack(permille, memory_capacity))};
  }
  static int64_t less(int64_t asked, uint64_t lack) {
    return lack > static_cast<uint64_t>(INT64_MAX) ? INT64_MIN : asked - static_cast<int64_t>(lack);
  }
};

// Some rows of a segment.
struct Counter::Chunk {
  Chunk(const Segment& rows_of, uint16_t allowed_devices)
      : segment(rows_of), all_allowed(allowed_devices == (1u << rows_of.columns.size()) - 1) {}

  const Segment& segment;
  bool all_allowed;           // by the claim's selectors
  bool equal_compute = true;  // what is asked of each device
  uint16_t compute = 0;       // if so
  bool cut = false;           // into partitions, some device
  size_t asked = 0;           // devices
  size_t begin = 0;
  size_t rows = 0;
  bool added_up = false;
  Sums sums;
  Row open;    // how many devices may be asked for their sizes
  Row usable;  // and how many of all are not faulty
  Row near;    // the most devices with room that are near each other; only if that is asked for
  Lacking lacking;
  Lacking held;
};

Counter::Counter(const Cluster& cluster, ShapeId shape)
    : cluster_(cluster),
      shape_(shape),
      request_(cluster.shape(shape).request),
      alone_(request_.exclusive || request_.prefer == Prefer::Mutex),
      nearby_(request_.near != Near::Anywhere && request_.near_required) {}

void Counter::count(Reason reason, uint32_t nodes, size_t devices) {
  tally_.nodes[static_cast<size_t>(reason)] += nodes;
  tally_.devices[static_cast<size_t>(reason)] += static_cast<uint32_t>(nodes * devices);
}

void Counter::nearer(const Nearness& candidate) {
  tally_.nearest = std::min(tally_.nearest, candidate);
}

void Counter::add_judged(NodeIndex node) {
  add_alike(node, 1, cluster_.nodes()[node].device_count);
}

void Counter::add_alike(NodeIndex first, uint32_t nodes, size_t devices_of_each) {
  const Judgement judgement = judge(cluster_, first, shape_);
  count(judgement.reason, nodes, devices_of_each);
  if (judgement.reason != Reason::None) nearer(judgement.nearness);
}

void Counter::add(const Segment& segment, uint16_t type) {
  if (segment.nodes.empty()) return;
  const uint16_t allowed = cluster_.allowed_devices(type, shape_);
  const size_t devices = segment.columns.size();
  if (devices < request_.devices ||
      (allowed == 0 && request_.devices > 0)) {  // the type rules all its nodes out
    add_alike(std::ranges::min(segment.nodes), static_cast<uint32_t>(segment.nodes.size()), devices);
  } else if (std::popcount(allowed) < static_cast<int>(request_.devices)) {
    for (const NodeIndex node : segment.nodes) add_judged(node);
  } else {
    add_rows(segment, type, allowed);
  }
}

void Counter::add_rows(const Segment& segment, uint16_t type, uint16_t allowed) {
  const size_t wanted = request_.devices;
  Chunk chunk(segment, allowed);
  std::array<SizeAsk, kMaxDevicesPerNode> asks;
  for (uint32_t device = 0; device < segment.columns.size() && wanted > 0; ++device) {
    if ((allowed >> device & 1) == 0) continue;
    const SliceSize size = cluster_.slice_size(type, shape_, device);
    SizeAsk& ask = asks[chunk.asked++];
    ask = size_ask(segment.columns[device].unit, device, size);
    chunk.equal_compute = chunk.equal_compute && ask.compute == asks[0].compute;
    chunk.compute = size.compute_permille;
    chunk.cut = chunk.cut || ask.profile != 0;
  }
  const bool by_size = wanted > 0 && !alone_;
  Sums& sums = chunk.sums;
  sums.fit.fill(0);
  sums.unsure.fill(0);
  chunk.lacking.rows.fill(0);
  chunk.held.rows.fill(0);
  chunk.open.fill(kNothing);
  chunk.usable.fill(kNothing);
  const NodeFacts& facts = cluster_.types()[type].facts;
  Host host{.cpu_capacity = facts.cpu_milli,
            .memory_capacity = facts.memory_bytes,
            .cpu_asked = request_.cpu_milli,
            .memory_asked = static_cast<int64_t>(request_.node_memory_bytes),
            .as_near = {},
            .nearer = {}};
  for (chunk.begin = 0; chunk.begin < segment.nodes.size(); chunk.begin += kChunk) {
    const size_t rows = chunk.rows = std::min(kChunk, segment.nodes.size() - chunk.begin);
    const uint16_t* open = segment.open.data() + chunk.begin;
    chunk.added_up = false;
    if (by_size) {
      add_devices(segment, chunk.begin, rows, std::span(asks).first(chunk.asked), nearby_, sums);
    } else if (wanted > 0) {
      const uint16_t* whole = segment.whole.data() + chunk.begin;
      for (size_t i = 0; i < rows; ++i) sums.mask[i] = static_cast<uint16_t>(open[i] & whole[i] & allowed);
      count_bits(sums.mask.data(), UINT16_MAX, rows, sums.fit);
    }
    if (wanted > 0 && (segment.irregular > 0 || alone_)) {
      count_bits(segment.usable.data() + chunk.begin, allowed, rows, chunk.usable);
      if (by_size) {
        count_bits(open, allowed, rows, chunk.open);
      } else {
        chunk.open = sums.fit;  // what is open to one who wants it whole has room
      }
    }
    size_t settled = 0;
    if (by_size) settled += add_lacking_sizes(chunk);
    if (wanted > 0 && (segment.irregular > 0 || alone_) && (alone_ || chunk.equal_compute))
      settled += add_held(chunk);
    if (settled < rows) add_rest(chunk, type, host);
  }
}

// Brings the nearest up to date with rows that lack devices for one reason.
void Counter::add_nearest(Chunk& chunk, const Lacking& lacking, Reason reason, int16_t shortfall) {
  const auto wanted = static_cast<int>(request_.devices);
  const NodeIndex* nodes = chunk.segment.nodes.data() + chunk.begin;
  Nearness least{distance(reason), static_cast<uint32_t>(lacking.missing), static_cast<uint32_t>(shortfall),
                 0};
  if (tally_.nearest < least) return;
  least.node = *std::min_element(nodes, nodes + chunk.rows);
  if (tally_.nearest < least) return;
  for (size_t i = 0; i < chunk.rows; ++i) {
    if (lacking.rows[i] == 0 || wanted - chunk.sums.fit[i] != lacking.missing) continue;
    if (!alone_ && chunk.sums.shortfall[i] != shortfall) continue;
    least.node = nodes[i];
    nearer(least);
  }
}

bool Counter::may_be_nearer(Reason reason, int16_t missing) const {
  return Nearness{distance(reason), static_cast<uint32_t>(missing), 0, 0} < tally_.nearest;
}

size_t Counter::add_lacking_sizes(Chunk& chunk) {
  const auto wanted = static_cast<int16_t>(request_.devices);
  find_lacking_sizes(chunk.sums, chunk.open, wanted, chunk.rows, chunk.lacking);
  if (chunk.lacking.count == 0) return 0;
  const bool nearest = may_be_nearer(Reason::InsufficientCompute, chunk.lacking.missing);
  if (nearest || chunk.cut) add_up(chunk);
  const BySize found = by_size(chunk.sums, chunk.lacking, wanted, chunk.cut, chunk.rows);
  const size_t devices = chunk.segment.columns.size();
  count(Reason::InsufficientMemory, static_cast<uint32_t>(found.memory), devices);
  count(Reason::InsufficientCompute, static_cast<uint32_t>(found.compute), devices);
  count(Reason::InsufficientPartitions, static_cast<uint32_t>(found.partitions), devices);
  if (nearest) {
    add_nearest(chunk, chunk.lacking, Reason::InsufficientCompute,
                least_shortfall(chunk.sums, chunk.lacking, wanted, chunk.rows));
  }
  return static_cast<size_t>(chunk.lacking.count);
}

// Those that lack sizes come first, then those held, which have no shortfall.
size_t Counter::add_held(Chunk& chunk) {
  const auto wanted = static_cast<int16_t>(request_.devices);
  find_held(chunk.sums, chunk.open, chunk.usable, wanted, chunk.rows, chunk.held);
  if (chunk.held.count == 0) return 0;
  count(Reason::DeviceHeld, static_cast<uint32_t>(chunk.held.count), chunk.segment.columns.size());
  if (may_be_nearer(Reason::DeviceHeld, chunk.held.missing)) {
    int16_t shortfall = 0;
    if (!alone_) {
      add_up(chunk);
      for (size_t i = 0; i < chunk.rows; ++i) {
        const int held = chunk.held.rows[i] * (wanted - chunk.open[i]) * (kHeldLack + chunk.compute);
        chunk.sums.shortfall[i] = static_cast<int16_t>(chunk.sums.shortfall[i] - held);
      }
      shortfall = least_shortfall(chunk.sums, chunk.held, wanted, chunk.rows);
    }
    add_nearest(chunk, chunk.held, Reason::DeviceHeld, shortfall);
  }
  return static_cast<size_t>(chunk.held.count);
}

void Counter::add_up(Chunk& chunk) {
  if (!chunk.added_up) placement::add_up(chunk.sums, chunk.asked, request_.devices, chunk.rows);
  chunk.added_up = true;
}

// What devices alone do not settle.
void Counter::add_rest(Chunk& chunk, uint16_t type, Host& host) {
  const Segment& segment = chunk.segment;
  const auto wanted = static_cast<int16_t>(request_.devices);
  if (nearby_) {
    chunk.near.fill(0);
    for (const uint16_t group : cluster_.near_groups(type, request_.near)) {
      Row together;
      count_bits(chunk.sums.mask.data(), group, chunk.rows, together);
      for (size_t i = 0; i < chunk.rows; ++i) chunk.near[i] = std::max(chunk.near[i], together[i]);
    }
  }
  const int64_t cpu = host.cpu_asked;
  const int64_t memory = host.memory_asked;
  host.refresh(tally_.nearest);
  uint32_t fitting = 0;
  uint32_t apart = 0;
  uint32_t without_cpu = 0;
  uint32_t without_memory = 0;
  NodeIndex first_apart = kNoNode;
  for (size_t i = 0; i < chunk.rows; ++i) {
    if ((chunk.lacking.rows[i] | chunk.held.rows[i]) != 0) continue;
    const size_t row = chunk.begin + i;
    if (segment.kinds[row] > RowKind::Closed || chunk.sums.unsure[i] != 0 || chunk.sums.fit[i] < wanted) {
      add_row(chunk, i);
    } else if (segment.cpu[row] < cpu || segment.host_memory[row] < memory) {
      ++(segment.cpu[row] < cpu ? without_cpu : without_memory);
      if (host.as_near.has(segment.cpu[row], segment.host_memory[row])) add_without_host(segment, row, host);
    } else if (nearby_ && chunk.near[i] < wanted) {
      ++apart;
      first_apart = std::min(first_apart, segment.nodes[row]);
    } else {
      ++fitting;
    }
  }
  const size_t devices = segment.columns.size();
  count(Reason::None, fitting, devices);
  count(Reason::InsufficientCpu, without_cpu, devices);
  count(Reason::InsufficientHostMemory, without_memory, devices);
  count(Reason::DevicesTooFarApart, apart, devices);
  if (apart > 0) nearer({distance(Reason::DevicesTooFarApart), 0, 0, first_apart});
}

// One whose devices do not do, and not for their sizes or holders alone.
void Counter::add_row(Chunk& chunk, size_t i) {
  const size_t row = chunk.begin + i;
  const NodeIndex node = chunk.segment.nodes[row];
  const size_t devices = chunk.segment.columns.size();
  if (chunk.segment.kinds[row] == RowKind::Cordoned) {
    count(Reason::NodeCordoned, 1, devices);
    return nearer({distance(Reason::NodeCordoned), request_.devices, 0, node});
  }
  // Faulty devices are needed, and none of another model is nearer than that.
  const bool faulty = chunk.segment.kinds[row] != RowKind::Odd && chunk.sums.unsure[i] == 0 &&
                      chunk.all_allowed && chunk.usable[i] < static_cast<int>(request_.devices);
  const auto missing = static_cast<int16_t>(static_cast<int>(request_.devices) - chunk.sums.fit[i]);
  if (!faulty || may_be_nearer(Reason::DeviceUnhealthy, missing)) return add_judged(node);
  count(Reason::DeviceUnhealthy, 1, devices);
}

void Counter::add_without_host(const Segment& segment, size_t row, Host& host) {
  const NodeIndex node = segment.nodes[row];
  if (node > tally_.nearest.node && !host.nearer.has(segment.cpu[row], segment.host_memory[row])) return;
  const auto lack = [](int64_t asked, int64_t free) {
    return static_cast<uint64_t>(std::max<int64_t>(0, asked - free));
  };
  nearer({distance(Reason::InsufficientCpu), 0,
          std::max(host_permille(lack(host.cpu_asked, segment.cpu[row]), host.cpu_capacity),
                   host_permille(lack(host.memory_asked, segment.host_memory[row]), host.memory_capacity)),
          node});
  host.refresh(tally_.nearest);
}

}  // namespace tweendeck::placement

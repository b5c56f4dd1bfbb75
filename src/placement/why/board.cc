#include "placement/why/board.h"

#include <algorithm>
#include <bit>
#include <numeric>

namespace tweendeck::placement {

struct Board::Pass {
  const Cluster& cluster;
  ShapeId shape;
  const Request& request;
  Tally tally;

  void count(Reason reason, uint32_t nodes, size_t devices) {
    tally.nodes[static_cast<size_t>(reason)] += nodes;
    tally.devices[static_cast<size_t>(reason)] += static_cast<uint32_t>(nodes * devices);
  }
  void judge_node(NodeIndex node) {
    const Judgement judgement = judge(cluster, node, shape);
    count(judgement.reason, 1, cluster.nodes()[node].device_count);
    if (judgement.reason != Reason::None) tally.nearest = std::min(tally.nearest, judgement.nearness);
  }
};

namespace {

constexpr size_t kChunk = 512;  // rows whose sums stay in the first-level cache
constexpr int16_t kNothing = INT16_MAX;

using Row = std::array<int16_t, kChunk>;

struct Sums {  // of the devices of each row
  Row fit;
  Row with_memory;
  Row unsure;
  Row shortfall;  // permille that the devices lack together which the claim needs and that lack least
  std::array<Row, kMaxDevicesPerNode> lacks;  // of each device, permille; 0 = the claim fits there
};

struct Ask {
  int16_t compute;
  int16_t memory;  // units, rounded up
  uint16_t scale;
  bool rounded;
};

// What follows are loops without branches that compilers turn into vector code.

void add_column(const int16_t* __restrict compute, const int16_t* __restrict memory, size_t rows, Ask ask,
                Sums& sums, Row& lacks) {
  int16_t* __restrict fit = sums.fit.data();
  int16_t* __restrict with_memory = sums.with_memory.data();
  int16_t* __restrict lack = lacks.data();
  for (size_t i = 0; i < rows; ++i) {
    const auto compute_lack = static_cast<int16_t>(ask.compute - compute[i]);
    const auto memory_lack = static_cast<int16_t>(ask.memory - memory[i]);
    const auto memory_units = static_cast<uint16_t>(memory_lack > 0 ? memory_lack : 0);
    const auto memory_permille = static_cast<int16_t>(static_cast<uint32_t>(memory_units) * ask.scale >> 16);
    const auto has_memory = static_cast<int16_t>(memory_lack <= 0);
    const auto fits = static_cast<int16_t>(compute_lack <= 0 ? has_memory : 0);
    fit[i] = static_cast<int16_t>(fit[i] + fits);
    with_memory[i] = static_cast<int16_t>(with_memory[i] + has_memory);
    lack[i] = std::max<int16_t>(std::max<int16_t>(compute_lack, 0), memory_permille);
  }
}

// A free amount just below an ask that was rounded up may be enough.
void add_unsure(const int16_t* __restrict memory, size_t rows, Ask ask, Sums& sums) {
  int16_t* __restrict unsure = sums.unsure.data();
  for (size_t i = 0; i < rows; ++i)
    unsure[i] = static_cast<int16_t>(unsure[i] | (memory[i] == ask.memory - 1));
}

void order(int16_t* __restrict a, int16_t* __restrict b, size_t rows) {
  for (size_t i = 0; i < rows; ++i) {
    const int16_t low = std::min(a[i], b[i]);
    const int16_t high = std::max(a[i], b[i]);
    a[i] = low;
    b[i] = high;
  }
}

// The sum of the `wanted` smallest of the first `columns` lacks: of each row the smallest are brought to the front, or
// the largest to the back, whichever are fewer.
void add_up(Sums& sums, size_t columns, size_t wanted, size_t rows) {
  int16_t* __restrict sum = sums.shortfall.data();
  if (wanted == 1) {  // nearly every claim: without moving anything
    sums.shortfall = sums.lacks[0];
    for (size_t column = 1; column < columns; ++column) {
      const int16_t* __restrict lack = sums.lacks[column].data();
      for (size_t i = 0; i < rows; ++i) sum[i] = std::min(sum[i], lack[i]);
    }
    return;
  }
  if (wanted <= columns - wanted) {
    for (size_t done = 0; done < wanted; ++done) {
      for (size_t i = columns - 1; i > done; --i) order(sums.lacks[i - 1].data(), sums.lacks[i].data(), rows);
    }
  } else {
    for (size_t done = columns; done > wanted; --done) {
      for (size_t i = 1; i < done; ++i) order(sums.lacks[i - 1].data(), sums.lacks[i].data(), rows);
    }
  }
  for (size_t column = 0; column < wanted; ++column) {
    const int16_t* __restrict lack = sums.lacks[column].data();
    for (size_t i = 0; i < rows; ++i) sum[i] = static_cast<int16_t>(sum[i] + lack[i]);
  }
}

NodeIndex lowest(const NodeIndex* nodes, size_t count) {
  NodeIndex low = kNoNode;
  for (size_t i = 0; i < count; ++i) low = std::min(low, nodes[i]);
  return low;
}

struct Found {  // among the plain rows of a chunk
  int16_t short_of_memory = 0;
  int16_t short_of_compute = 0;
  int16_t missing = kNothing;    // the fewest devices
  int16_t shortfall = kNothing;  // the least of those rows
};

Found look(const int16_t* __restrict plain, const Sums& sums, int16_t wanted, size_t rows) {
  const int16_t* __restrict fit = sums.fit.data();
  const int16_t* __restrict with_memory = sums.with_memory.data();
  const int16_t* __restrict unsure = sums.unsure.data();
  const int16_t* __restrict shortfall = sums.shortfall.data();
  int16_t memory = 0;
  int16_t all = 0;
  int16_t fewest = kNothing;
  for (size_t i = 0; i < rows; ++i) {
    const auto missing = static_cast<int16_t>(wanted - fit[i]);
    const auto fails = static_cast<int16_t>(static_cast<int16_t>(missing > 0) & plain[i] & (unsure[i] == 0));
    all = static_cast<int16_t>(all + fails);
    memory = static_cast<int16_t>(memory + (fails & (with_memory[i] < wanted)));
    const int16_t candidate = fails != 0 ? missing : kNothing;
    fewest = candidate < fewest ? candidate : fewest;
  }
  Found found{memory, static_cast<int16_t>(all - memory), fewest, kNothing};
  const auto fit_of_fewest = static_cast<int16_t>(wanted - fewest);
  int16_t least = kNothing;
  for (size_t i = 0; i < rows; ++i) {
    const auto among = static_cast<int16_t>((fit[i] == fit_of_fewest) & plain[i] & (unsure[i] == 0));
    const int16_t candidate = among != 0 ? shortfall[i] : kNothing;
    least = candidate < least ? candidate : least;
  }
  found.shortfall = least;
  return found;
}

// Makes `nearest` the nearest of the chunk's plain rows, if it is nearer.
void find_nearest(Nearness& nearest, const NodeIndex* nodes, const int16_t* plain, size_t rows,
                  const Sums& sums, const Found& found, int16_t wanted) {
  Nearness least{0, static_cast<uint32_t>(found.missing), static_cast<uint32_t>(found.shortfall), 0};
  if (nearest < least) return;
  least.node = lowest(nodes, rows);
  if (nearest < least) return;
  for (size_t i = 0; i < rows; ++i) {
    if (plain[i] == 0 || sums.unsure[i] != 0) continue;
    if (wanted - sums.fit[i] != found.missing || sums.shortfall[i] != found.shortfall) continue;
    least.node = nodes[i];
    nearest = std::min(nearest, least);
  }
}

}  // namespace

uint32_t Tally::total() const {
  return std::accumulate(nodes.begin(), nodes.end(), 0u);
}

Board::Kind Board::kind_of(const Cluster& cluster, NodeIndex index) {
  const NodeState& node = cluster.nodes()[index];
  if (node.cordoned) return Kind::Cordoned;
  const uint32_t all = (1u << node.device_count) - 1;
  if (node.usable != all) return Kind::Odd;
  if (node.open == all) return Kind::Plain;
  return node.open == 0 ? Kind::Held : Kind::Odd;
}

void Board::drop(NodeIndex node) {
  Place& place = places_[node];
  if (place.segment == UINT32_MAX) return;
  Segment& segment = segments_[place.segment];
  const size_t row = place.row;
  const auto move_last = [row](auto& column) {
    column[row] = column.back();
    column.pop_back();
  };
  segment.others -= 1 - segment.plain[row];
  places_[segment.nodes.back()].row = place.row;
  move_last(segment.nodes);
  move_last(segment.kinds);
  move_last(segment.plain);
  move_last(segment.cpu);
  move_last(segment.host_memory);
  for (Column& column : segment.columns) {
    move_last(column.compute);
    move_last(column.memory);
  }
  place.segment = UINT32_MAX;
}

void Board::refresh(const Cluster& cluster, NodeIndex index) {
  const NodeState& node = cluster.nodes()[index];
  Place& place = places_[index];
  if (place.segment != UINT32_MAX && place.version == node.version) return;
  if (place.segment != UINT32_MAX && (!node.present || place.segment != node.type)) drop(index);
  if (!node.present) return;
  Segment& segment = segments_[node.type];
  if (segment.columns.empty() && node.device_count > 0) {
    for (const DeviceFacts& device : cluster.types()[node.type].facts.devices) {
      segment.columns.push_back({memory_unit(device.memory_bytes), {}, {}});
    }
  }
  if (place.segment == UINT32_MAX) {
    place.segment = node.type;
    place.row = static_cast<uint32_t>(segment.nodes.size());
    segment.nodes.push_back(index);
    segment.kinds.emplace_back();
    segment.plain.emplace_back();
    ++segment.others;
    segment.cpu.emplace_back();
    segment.host_memory.emplace_back();
    for (Column& column : segment.columns) {
      column.compute.emplace_back();
      column.memory.emplace_back();
    }
  }
  place.version = node.version;
  segment.kinds[place.row] = kind_of(cluster, index);
  segment.others += segment.plain[place.row];
  segment.plain[place.row] = static_cast<int16_t>(segment.kinds[place.row] == Kind::Plain);
  segment.others -= segment.plain[place.row];
  segment.cpu[place.row] = node.cpu_free_milli;
  segment.host_memory[place.row] = node.memory_free_bytes;
  for (uint32_t device = 0; device < node.device_count; ++device) {
    Column& column = segment.columns[device];
    column.compute[place.row] = static_cast<int16_t>(node.compute_free[device]);
    column.memory[place.row] = static_cast<int16_t>(units_of_free(column.unit, node.memory_free[device]));
  }
}

void Board::catch_up(const Cluster& cluster) {
  const Cluster::Changes changes = cluster.changes_since(cursor_);
  const size_t nodes = cluster.nodes().size();
  if (!built_ || changes.lost) {
    segments_.clear();
    places_.clear();
  }
  places_.resize(nodes);
  segments_.resize(cluster.types().size());
  if (!built_ || changes.lost) {
    for (NodeIndex node = 0; node < nodes; ++node) refresh(cluster, node);
  } else {
    for (const NodeIndex node : changes.nodes) refresh(cluster, node);
  }
  built_ = true;
  cursor_ = cluster.cursor();
}

Tally Board::tally(const Cluster& cluster, ShapeId shape) {
  catch_up(cluster);
  Pass pass{cluster, shape, cluster.shape(shape).request, {}};
  if (!pass.request.device_ids.empty()) {
    count_named(pass);
    return pass.tally;
  }
  const Request& request = pass.request;
  const bool alone = request.exclusive || request.prefer == Prefer::Mutex;
  for (size_t type = 0; type < segments_.size(); ++type) {
    const Segment& segment = segments_[type];
    if (segment.nodes.empty()) continue;
    const uint16_t allowed = cluster.allowed_devices(static_cast<uint16_t>(type), shape);
    const auto& devices = cluster.types()[type].facts.devices;
    const bool partitioned =
        std::ranges::any_of(devices, [](const DeviceFacts& device) { return !device.partitions.empty(); });
    if (devices.size() < request.devices || (allowed == 0 && request.devices > 0)) {
      count_alike(pass, segment);
    } else if (alone || partitioned || std::popcount(allowed) < static_cast<int>(request.devices)) {
      count_one_by_one(pass, segment);
    } else {
      count_by_size(pass, segment, static_cast<uint16_t>(type));
    }
  }
  return pass.tally;
}

NodeIndex Board::closed_with_room(const Cluster& cluster, ShapeId shape) {
  catch_up(cluster);
  uint32_t looked_at = 0;
  for (const Segment& segment : segments_) {
    if (segment.others == 0) continue;
    for (size_t row = 0; row < segment.nodes.size(); ++row) {
      if (segment.kinds[row] == Kind::Plain || segment.kinds[row] == Kind::Held) continue;
      if (fits_once_open(cluster, segment.nodes[row], shape)) return segment.nodes[row];
      if (++looked_at == kMaxReopen) return kNoNode;
    }
  }
  return kNoNode;
}

// Only nodes of named devices can differ from the rest.
void Board::count_named(Pass& pass) const {
  std::vector<NodeIndex> named;
  for (const std::string& id : pass.request.device_ids) {
    if (const auto device = pass.cluster.find_device(id)) named.push_back(device->first);
  }
  std::ranges::sort(named);
  named.erase(std::ranges::unique(named).begin(), named.end());
  std::erase_if(named, [&](NodeIndex node) { return places_[node].segment == UINT32_MAX; });
  for (const Segment& segment : segments_) {
    std::vector<NodeIndex> others;
    NodeIndex first = kNoNode;
    for (const NodeIndex node : segment.nodes) {
      if (std::ranges::binary_search(named, node)) {
        pass.judge_node(node);
      } else {
        others.push_back(node);
        first = std::min(first, node);
      }
    }
    if (others.empty()) continue;
    const Judgement judgement = judge(pass.cluster, first, pass.shape);
    pass.count(judgement.reason, static_cast<uint32_t>(others.size()), segment.columns.size());
    pass.tally.nearest = std::min(pass.tally.nearest, judgement.nearness);
  }
}

// What the type says rules out all its nodes.
void Board::count_alike(Pass& pass, const Segment& segment) const {
  const NodeIndex first = lowest(segment.nodes.data(), segment.nodes.size());
  const Judgement judgement = judge(pass.cluster, first, pass.shape);
  pass.count(judgement.reason, static_cast<uint32_t>(segment.nodes.size()), segment.columns.size());
  pass.tally.nearest = std::min(pass.tally.nearest, judgement.nearness);
}

void Board::count_one_by_one(Pass& pass, const Segment& segment) const {
  for (const NodeIndex node : segment.nodes) pass.judge_node(node);
}

void Board::count_by_size(Pass& pass, const Segment& segment, uint16_t type) const {
  const Request& request = pass.request;
  const uint16_t allowed = pass.cluster.allowed_devices(type, pass.shape);
  const auto wanted = static_cast<int16_t>(request.devices);
  Sums sums;
  for (size_t begin = 0; begin < segment.nodes.size(); begin += kChunk) {
    const size_t rows = std::min(kChunk, segment.nodes.size() - begin);
    sums.fit.fill(0);
    sums.with_memory.fill(0);
    sums.unsure.fill(0);
    sums.shortfall.fill(0);
    size_t columns = 0;
    for (uint32_t device = 0; device < segment.columns.size() && wanted > 0; ++device) {
      if ((allowed >> device & 1) == 0) continue;
      const Column& column = segment.columns[device];
      const SliceSize size = pass.cluster.slice_size(type, pass.shape, device);
      const uint64_t rest = size.memory_bytes & ((1ull << column.unit.shift) - 1);
      const Ask ask{static_cast<int16_t>(size.compute_permille),
                    static_cast<int16_t>(units_of_ask(column.unit, size.memory_bytes)),
                    static_cast<uint16_t>(column.unit.scale), rest != 0};
      add_column(column.compute.data() + begin, column.memory.data() + begin, rows, ask, sums,
                 sums.lacks[columns++]);
      if (ask.rounded) add_unsure(column.memory.data() + begin, rows, ask, sums);
    }
    add_up(sums, columns, request.devices, rows);
    const int16_t* plain = segment.plain.data() + begin;
    const Found found = look(plain, sums, wanted, rows);
    pass.count(Reason::InsufficientMemory, static_cast<uint32_t>(found.short_of_memory),
               segment.columns.size());
    pass.count(Reason::InsufficientCompute, static_cast<uint32_t>(found.short_of_compute),
               segment.columns.size());
    if (found.missing != kNothing) {
      find_nearest(pass.tally.nearest, segment.nodes.data() + begin, plain, rows, sums, found, wanted);
    }
    const auto failing = static_cast<size_t>(found.short_of_memory + found.short_of_compute);
    if (failing == rows) continue;
    for (size_t i = 0; i < rows; ++i) {
      const bool settled = plain[i] != 0 && sums.unsure[i] == 0 && sums.fit[i] < wanted;
      if (!settled) count_row(pass, segment, type, begin + i, sums.unsure[i] == 0);
    }
  }
}

// A row that the sizes of its devices do not settle.
void Board::count_row(Pass& pass, const Segment& segment, uint16_t type, size_t row, bool sure) const {
  const Request& request = pass.request;
  const NodeIndex node = segment.nodes[row];
  const Kind kind = segment.kinds[row];
  const uint32_t all = (1u << segment.columns.size()) - 1;
  const bool any_device = request.devices > 0 && pass.cluster.allowed_devices(type, pass.shape) == all;
  if (any_device && (kind == Kind::Cordoned || kind == Kind::Held)) {
    const Reason reason = kind == Kind::Cordoned ? Reason::NodeCordoned : Reason::DeviceHeld;
    pass.count(reason, 1, segment.columns.size());
    pass.tally.nearest = std::min(pass.tally.nearest, {distance(reason), request.devices, 0, node});
    return;
  }
  const bool near = request.near != Near::Anywhere && request.near_required;
  const bool host = segment.cpu[row] >= static_cast<int32_t>(request.cpu_milli) &&
                    segment.host_memory[row] >= static_cast<int64_t>(request.node_memory_bytes);
  if (sure && kind == Kind::Plain && host && !near) {
    pass.count(Reason::None, 1, segment.columns.size());
  } else {
    pass.judge_node(node);
  }
}

}  // namespace tweendeck::placement

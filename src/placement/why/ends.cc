#include "placement/why/ends.h"

#include <algorithm>
#include <bit>
#include <functional>
#include <numeric>
#include <tuple>

namespace tweendeck::placement {
namespace {

struct Use {  // of one device
  NodeIndex node;
  uint32_t device;
  uint64_t memory;
  uint32_t compute;
};

struct Candidate {
  const Holder* holder;
  uint64_t memory = 0;  // in all
  uint64_t compute = 0;
  std::vector<Use> uses;
};

class Search {
 public:
  Search(Cluster& cluster, ShapeId shape, uint32_t count, std::span<const Range> ranges,
         std::span<const Holder> holders, uint32_t max_steps)
      : cluster_(cluster), shape_(shape), count_(count), max_steps_(max_steps), ranges_(ranges) {
    candidates_.reserve(holders.size());
    for (const Holder& holder : holders) candidates_.push_back(candidate(holder));
    std::ranges::sort(candidates_, {}, [](const Candidate& c) {
      return std::tie(c.holder->priority, c.memory, c.compute, c.holder->name);
    });
  }

  bool everybody_suffices() {
    const Cluster::Mark mark = cluster_.mark();
    for (const Candidate& each : candidates_) end(each);
    const bool suffices = fits();
    cluster_.undo_to(mark);
    return suffices;
  }

  // The smallest set, or nothing when the bounds were reached first.
  std::vector<size_t> fewest() {
    std::vector<size_t> chosen;
    if (candidates_.size() > kMaxHolders) return chosen;
    prepare_bounds();
    for (size_t size = 1; size <= candidates_.size() && !out_of_steps(); ++size) {
      if (choose(0, size, chosen)) break;
    }
    return chosen;
  }

  // A set from which nobody can be left out: the largest of the lowest priority first until it fits, then everybody
  // goes on who was not needed.
  std::vector<size_t> few() {
    const std::vector<size_t> order = by_priority_then_largest();
    std::vector<Cluster::Mark> marks;  // before each end
    while (marks.size() < order.size() && !fits()) {
      marks.push_back(cluster_.mark());
      end(candidates_[order[marks.size() - 1]]);
    }
    std::vector<size_t> chosen;
    while (!marks.empty()) {
      cluster_.undo_to(marks.back());
      marks.pop_back();
      const Cluster::Mark mark = cluster_.mark();
      for (const size_t i : chosen) end(candidates_[i]);
      const bool spare = fits();
      cluster_.undo_to(mark);
      if (!spare) chosen.push_back(order[marks.size()]);
    }
    return chosen;
  }

  std::vector<uint32_t> slots_without(const std::vector<size_t>& set) {
    const Cluster::Mark mark = cluster_.mark();
    for (const size_t i : set) end(candidates_[i]);
    std::vector<uint32_t> slots;
    for (const Range& range : ranges_) {
      slots.push_back(cluster_.slots(range.node, shape_, std::min(range.limit, count_)));
    }
    cluster_.undo_to(mark);
    return slots;
  }

  const std::string& name(size_t i) const { return candidates_[i].holder->name; }

 private:
  struct Largest {  // sums of the r largest uses, by r; zeros are left out
    std::vector<uint64_t> memory{0};
    std::vector<uint64_t> compute{0};
  };
  struct Room {  // one device of a range
    const Range* range;
    uint32_t device;
    SliceSize ask;
    std::vector<Largest> bounds{Largest()};  // of ever more candidates, from the last on
  };

  Candidate candidate(const Holder& holder) const {
    Candidate made{&holder, 0, 0, {}};
    for (const Holder::Held& held : holder.held) {
      const NodeState& node = cluster_.nodes()[held.spot.node];
      for (uint32_t rest = held.spot.devices; rest != 0; rest &= rest - 1) {
        const auto device = static_cast<uint32_t>(std::countr_zero(rest));
        const SliceSize size = cluster_.slice_size(node.type, held.shape, device);
        made.uses.push_back({held.spot.node, device, size.memory_bytes, size.compute_permille});
        made.memory += size.memory_bytes;
        made.compute += size.compute_permille;
      }
    }
    return made;
  }

  void end(const Candidate& each) {
    for (const Holder::Held& held : each.holder->held) cluster_.give(held.spot, held.shape);
  }

  bool fits() const { return total_slots(cluster_, shape_, ranges_, count_) == count_; }

  // Whether ending `size` candidates from `first` on makes it fit; their indices in `chosen`. The book is as it was.
  bool choose(size_t first, size_t size, std::vector<size_t>& chosen) {
    if (size == 0) return fits();
    for (size_t i = first; i + size <= candidates_.size(); ++i) {
      if (out_of_steps() || !may_fit(i, size)) return false;
      const bool twin = i > first && candidates_[i].holder->held == candidates_[i - 1].holder->held;
      if (twin) continue;  // has been tried
      const Cluster::Mark mark = cluster_.mark();
      end(candidates_[i]);
      chosen.push_back(i);
      const bool found = choose(i + 1, size - 1, chosen);
      cluster_.undo_to(mark);
      if (found) return true;
      chosen.pop_back();
    }
    return false;
  }

  bool out_of_steps() const { return steps_ >= max_steps_; }

  std::vector<size_t> by_priority_then_largest() const {
    std::vector<size_t> order(candidates_.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::ranges::sort(order, [this](size_t a, size_t b) {
      const Candidate& x = candidates_[a];
      const Candidate& y = candidates_[b];
      return std::tie(x.holder->priority, y.memory, y.compute, x.holder->name) <
             std::tie(y.holder->priority, x.memory, x.compute, y.holder->name);
    });
    return order;
  }

  static void add_largest(std::vector<uint64_t>& sums, uint64_t share) {
    if (share == 0) return;
    size_t at = sums.size();
    while (at > 1 && sums[at - 1] - sums[at - 2] < share) --at;
    sums.insert(sums.begin() + static_cast<std::ptrdiff_t>(at), sums[at - 1]);
    for (; at < sums.size(); ++at) sums[at] += share;
  }

  void prepare_bounds() {
    for (const Range& range : ranges_) {
      const NodeState& node = cluster_.nodes()[range.node];
      const uint16_t allowed = cluster_.allowed_devices(node.type, shape_);
      for (uint32_t device = 0; device < node.device_count; ++device) {
        if ((allowed >> device & 1) != 0)
          rooms_.push_back({&range, device, cluster_.slice_size(node.type, shape_, device), {Largest()}});
      }
    }
    for (Room& room : rooms_) room.bounds.reserve(candidates_.size() + 1);
    bounds_from_.resize(candidates_.size());
    for (size_t i = candidates_.size(); i-- > 0;) {
      for (size_t r = 0; r < rooms_.size(); ++r) {
        Room& room = rooms_[r];
        uint64_t memory = 0;
        uint64_t compute = 0;
        for (const Use& use : candidates_[i].uses) {
          if (use.node != room.range->node || use.device != room.device) continue;
          memory += use.memory;
          compute += use.compute;
        }
        if (memory > 0 || compute > 0) {
          room.bounds.push_back(room.bounds.back());
          add_largest(room.bounds.back().memory, memory);
          add_largest(room.bounds.back().compute, compute);
        }
        bounds_from_[i].push_back(static_cast<uint32_t>(room.bounds.size() - 1));
      }
    }
  }

  // False only if no `size` candidates from `first` on would do, were each device freed by its own `size` largest.
  bool may_fit(size_t first, size_t size) {
    ++steps_;
    const uint32_t devices = cluster_.shape(shape_).request.devices;
    if (devices == 0) return true;
    const uint64_t wanted = uint64_t{count_} * devices;
    uint64_t slices = 0;
    for (size_t i = 0; i < rooms_.size() && slices < wanted; ++i) {
      const Room& room = rooms_[i];
      const NodeState& node = cluster_.nodes()[room.range->node];
      const SliceSize& ask = room.ask;
      const Largest& largest = room.bounds[bounds_from_[first][i]];
      const int64_t memory = node.memory_free[room.device] +
                             static_cast<int64_t>(largest.memory[std::min(size, largest.memory.size() - 1)]);
      const uint64_t compute =
          node.compute_free[room.device] + largest.compute[std::min(size, largest.compute.size() - 1)];
      uint64_t here = std::min<uint64_t>(room.range->limit, count_);
      if (memory < 0) here = 0;
      if (ask.memory_bytes > 0) here = std::min(here, static_cast<uint64_t>(memory) / ask.memory_bytes);
      if (ask.compute_permille > 0) here = std::min(here, compute / ask.compute_permille);
      slices += here;
    }
    return slices >= wanted;
  }

  Cluster& cluster_;
  ShapeId shape_;
  uint32_t count_;
  uint32_t max_steps_;
  std::span<const Range> ranges_;
  std::vector<Candidate> candidates_;
  std::vector<Room> rooms_;
  std::vector<std::vector<uint32_t>>
      bounds_from_;  // [candidate][room]: which of its bounds holds from there on
  uint32_t steps_ = 0;
};

}  // namespace

uint32_t total_slots(const Cluster& cluster, ShapeId shape, std::span<const Range> ranges, uint32_t limit) {
  uint32_t total = 0;
  for (const Range& range : ranges) {
    if (total == limit) break;
    total += cluster.slots(range.node, shape, std::min(range.limit, limit - total));
  }
  return total;
}

EndSet fewest_ends(Cluster& cluster, ShapeId shape, uint32_t count, std::span<const Range> ranges,
                   std::span<const Holder> holders, uint32_t max_steps) {
  EndSet result;
  Search search(cluster, shape, count, ranges, holders, max_steps);
  if (!search.everybody_suffices()) return result;
  std::vector<size_t> chosen = search.fewest();
  result.fewest = !chosen.empty();
  if (chosen.empty()) chosen = search.few();
  for (const size_t i : chosen) result.names.push_back(search.name(i));
  std::ranges::sort(result.names);
  result.slots = search.slots_without(chosen);
  return result;
}

}  // namespace tweendeck::placement

#include "placement/stop_search.h"

#include <algorithm>
#include <functional>
#include <map>
#include <numeric>
#include <tuple>
#include <unordered_map>

namespace tweendeck::placement {
namespace {

struct Use {
  size_t room;
  uint64_t memory;
  uint64_t compute;
  bool operator==(const Use&) const = default;
};

struct Owner {
  std::string name;
  int32_t priority = INT32_MIN;  // highest of its slices
  uint64_t memory = 0;           // in all
  uint64_t compute = 0;
  std::vector<Use> uses;  // by room, ascending
};

// Everybody who holds something where the claim could go, except the claim's own deployment.
std::vector<Owner> stoppable_owners(const Snapshot& snapshot, const Claim& claim,
                                    const std::vector<Room>& rooms) {
  std::unordered_map<std::string_view, size_t> room_of;
  for (size_t i = 0; i < rooms.size(); ++i) {
    if (rooms[i].barrier == Reason::None) room_of.emplace(rooms[i].device->id, i);
  }
  std::map<std::string_view, std::map<size_t, Use>> uses;
  std::map<std::string_view, Owner> owners;
  for (const Slice& slice : snapshot.slices) {
    const auto room = room_of.find(slice.device_id);
    const bool own = !claim.name.empty() && slice.deployment == claim.name;
    if (room == room_of.end() || slice.owner.empty() || own) continue;
    Owner& owner = owners[slice.owner];
    owner.name = slice.owner;
    owner.priority = std::max(owner.priority, slice.share.priority);
    owner.memory += slice.share.memory_bytes;
    owner.compute += slice.share.compute_percent;
    Use& use = uses[slice.owner].try_emplace(room->second, Use{room->second, 0, 0}).first->second;
    use.memory += slice.share.memory_bytes;
    use.compute += slice.share.compute_percent;
  }
  std::vector<Owner> list;
  for (auto& [name, owner] : owners) {
    for (const auto& [room, use] : uses[name]) owner.uses.push_back(use);
    list.push_back(std::move(owner));
  }
  return list;
}

void stop(std::vector<Room>& rooms, const Owner& owner) {
  for (const Use& use : owner.uses) {
    rooms[use.room].used_memory -= use.memory;
    rooms[use.room].used_compute -= use.compute;
  }
}

void resume(std::vector<Room>& rooms, const Owner& owner) {
  for (const Use& use : owner.uses) {
    rooms[use.room].used_memory += use.memory;
    rooms[use.room].used_compute += use.compute;
  }
}

class Search {
 public:
  Search(const Claim& claim, std::vector<Room> rooms, std::vector<Owner> owners)
      : claim_(claim), rooms_(std::move(rooms)), owners_(std::move(owners)) {
    std::ranges::sort(owners_, {},
                      [](const Owner& o) { return std::tie(o.priority, o.memory, o.compute, o.name); });
  }

  // The smallest set, or nothing when the bounds were reached first.
  std::vector<size_t> fewest() {
    std::vector<size_t> chosen;
    if (owners_.size() > kMaxOwners) return chosen;
    prepare_bounds();
    for (size_t count = 1; count <= owners_.size() && !out_of_steps(); ++count) {
      if (choose(0, count, chosen)) break;
    }
    return chosen;
  }

  // A set from which nobody can be left out: the largest of the lowest priority first until it fits, then
  // everybody goes on who was not needed.
  std::vector<size_t> few() {
    std::vector<size_t> chosen;
    for (size_t i : by_priority_then_largest()) {
      if (fits()) break;
      stop(rooms_, owners_[i]);
      chosen.push_back(i);
    }
    for (size_t i = chosen.size(); i-- > 0;) {
      resume(rooms_, owners_[chosen[i]]);
      if (fits()) {
        chosen.erase(chosen.begin() + static_cast<std::ptrdiff_t>(i));
      } else {
        stop(rooms_, owners_[chosen[i]]);
      }
    }
    return chosen;
  }

  const std::vector<Room>& rooms() const { return rooms_; }
  const std::vector<Owner>& owners() const { return owners_; }

 private:
  struct Largest {  // sums of the r largest shares of the owners from i on, by r
    std::vector<uint64_t> memory{0};
    std::vector<uint64_t> compute{0};
  };

  bool fits() const { return total_slots(rooms_, claim_, claim_.count) == claim_.count; }

  // Stops `count` owners from `first` on so that the claim fits; their indices in `chosen`.
  bool choose(size_t first, size_t count, std::vector<size_t>& chosen) {
    if (count == 0) return fits();
    for (size_t i = first; i + count <= owners_.size(); ++i) {
      if (out_of_steps() || !may_fit(i, count)) return false;
      if (i > first && owners_[i].uses == owners_[i - 1].uses) continue;  // its twin has been tried
      stop(rooms_, owners_[i]);
      chosen.push_back(i);
      if (choose(i + 1, count - 1, chosen)) return true;
      chosen.pop_back();
      resume(rooms_, owners_[i]);
    }
    return false;
  }

  bool out_of_steps() const { return steps_ >= kMaxSteps; }

  std::vector<size_t> by_priority_then_largest() const {
    std::vector<size_t> order(owners_.size());
    std::iota(order.begin(), order.end(), size_t{0});
    std::ranges::sort(order, [this](size_t a, size_t b) {
      const Owner& x = owners_[a];
      const Owner& y = owners_[b];
      return std::tie(x.priority, y.memory, y.compute, x.name) <
             std::tie(y.priority, x.memory, x.compute, y.name);
    });
    return order;
  }

  static void add_largest(std::vector<uint64_t>& sums, std::vector<uint64_t> shares) {
    std::ranges::sort(shares, std::greater{});
    for (uint64_t share : shares) sums.push_back(sums.back() + share);
  }

  void prepare_bounds() {
    largest_.resize(owners_.size());
    for (size_t i = 0; i < owners_.size(); ++i) {
      largest_[i].resize(rooms_.size());
      for (size_t room = 0; room < rooms_.size(); ++room) {
        std::vector<uint64_t> memory, compute;
        for (size_t o = i; o < owners_.size(); ++o) {
          for (const Use& use : owners_[o].uses) {
            if (use.room != room) continue;
            memory.push_back(use.memory);
            compute.push_back(use.compute);
          }
        }
        add_largest(largest_[i][room].memory, std::move(memory));
        add_largest(largest_[i][room].compute, std::move(compute));
      }
    }
  }

  // False only if no `count` owners from `first` on would do, were each device freed by its own `count`
  // largest.
  bool may_fit(size_t first, size_t count) {
    ++steps_;
    uint32_t total = 0;
    for (size_t i = 0; i < rooms_.size() && total < claim_.count; ++i) {
      Room room = rooms_[i];
      const Largest& largest = largest_[first][i];
      room.used_memory -= largest.memory[std::min(count, largest.memory.size() - 1)];
      room.used_compute -= largest.compute[std::min(count, largest.compute.size() - 1)];
      total += slots(room, claim_, claim_.count - total);
    }
    return total == claim_.count;
  }

  const Claim& claim_;
  std::vector<Room> rooms_;
  std::vector<Owner> owners_;
  std::vector<std::vector<Largest>> largest_;  // [owner][room]
  uint32_t steps_ = 0;
};

}  // namespace

StopSet find_stop_set(const Snapshot& snapshot, const Claim& claim, const std::vector<Room>& rooms) {
  StopSet result;
  std::vector<Owner> owners = stoppable_owners(snapshot, claim, rooms);
  std::vector<Room> empty = rooms;
  for (const Owner& owner : owners) stop(empty, owner);
  if (total_slots(empty, claim, claim.count) < claim.count) return result;

  Search search(claim, rooms, std::move(owners));
  std::vector<size_t> chosen = search.fewest();
  result.fewest = !chosen.empty();
  if (chosen.empty()) chosen = search.few();
  for (size_t i : chosen) result.owners.push_back(search.owners()[i].name);
  std::ranges::sort(result.owners);
  result.rooms = search.rooms();
  return result;
}

}  // namespace tweendeck::placement

// Room kept for requests of several devices, by price.
//
// Requests are grouped by devices, CPU and the node types that can host them; a group's demand counts all harder
// requests too. A group is active while the room left for it may not last: then a placement that breaks one of its
// slots pays for it. Room for the whole nodes that no other type dominates is kept from the first claim on.
//
// How much will be asked: free capacity fills with the mix that stands now, so n of a group that stand beside L devices
// become n F / L more while the F free ones fill; without departures that is "until the cluster is full", with them the
// horizon recedes as claims leave and the demand that counts is what grows, not what comes and goes. The margin is two
// standard deviations of that forecast, the uncertainty of n included (a Poisson count seen once: F/L (1 + F/L) n).
#pragma once

#include <array>
#include <cstdint>
#include <span>
#include <vector>

#include "placement/policy/fragmentation/catalog.h"
#include "placement/policy/fragmentation/demand.h"
#include "placement/policy/fragmentation/state.h"

namespace tweendeck::placement::fragmentation {

inline constexpr size_t kMaxGroups = 12;
using GroupSlots = std::array<uint8_t, kMaxGroups>;

class Reservation {
 public:
  // Slots are counted anew by the caller: `add` for every node.
  void learn(const Catalog& catalog, const Cluster& cluster, const Demand& demand);
  GroupSlots slots_of(const State& state) const;
  void add(const GroupSlots& slots, int sign) {
    for (size_t i = 0; i < groups_.size(); ++i) groups_[i].slots += sign * slots[i];
  }
  // Which groups are active now; `free` and `standing` in permille of devices. Bit per group.
  uint32_t refresh(const Demand& demand, uint64_t free, uint64_t standing);
  uint32_t active() const { return active_; }
  // Active groups that the kind does not belong to: those whose slots it pays for.
  uint32_t foreign(KindId kind) const { return kind < foreign_.size() ? active_ & foreign_[kind] : active_; }

 private:
  struct Group {
    uint32_t devices = 0;
    uint32_t cpu_milli = 0;
    std::vector<uint8_t> hosts;  // by type
    std::vector<KindId> kinds;
    bool unseen = false;  // nothing of it need have come
    int64_t slots = 0;
  };
  void add_seen(const Catalog& catalog, const Cluster& cluster, const Demand& demand);
  void add_unseen(const Catalog& catalog, const Cluster& cluster);
  void finish(const Catalog& catalog);

  std::vector<Group> groups_;
  std::vector<uint32_t> foreign_;  // by kind: bit per group
  uint32_t active_ = 0;
};

}  // namespace tweendeck::placement::fragmentation

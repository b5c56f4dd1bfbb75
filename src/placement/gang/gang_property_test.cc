// Random small gangs against a slow reference with a book of its own that tries every placement of every member. 30,000
// cases, 10^6 with TWEENDECK_SOAK.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cstdlib>
#include <map>

#include "placement/cluster/partitions.h"
#include "placement/gang/gang.h"
#include "placement/gang/small_testing.h"

namespace tweendeck::placement {
namespace {

using testing::FirstFit;

uint64_t cases() {
  if (std::getenv("TWEENDECK_SOAK") != nullptr) return 1'000'000;
#ifdef NDEBUG
  return 30'000;
#else
  return 10'000;
#endif
}

struct Member {
  uint32_t role;
  Spot spot;
};

// What is left, kept without the cluster's help.
struct Device {
  int64_t memory, compute, claims;
  bool exclusive;
  uint8_t slots;
};
struct Node {
  int64_t cpu, memory;
  std::vector<Device> devices;
};

class Reference {
 public:
  Reference(const Cluster& cluster, const Gang& gang) : cluster_(cluster), gang_(gang) {
    for (NodeIndex n = 0; n < cluster.nodes().size(); ++n) {
      const NodeFacts& facts = cluster.facts(n);
      Node node{facts.cpu_milli, static_cast<int64_t>(facts.memory_bytes), {}};
      for (const DeviceFacts& d : facts.devices)
        node.devices.push_back({static_cast<int64_t>(d.memory_bytes), 1000, 0, false, 0});
      nodes_.push_back(node);
    }
  }

  bool apply(const Spot& spot, ShapeId shape, int sign) {
    const Request& request = cluster_.shape(shape).request;
    const NodeFacts& facts = cluster_.facts(spot.node);
    Node& node = nodes_[spot.node];
    bool ok = !facts.cordoned;
    node.cpu -= sign * static_cast<int64_t>(request.cpu_milli);
    node.memory -= sign * static_cast<int64_t>(request.node_memory_bytes);
    ok &= node.cpu >= 0 && node.memory >= 0;
    for (uint32_t d = 0; d < node.devices.size(); ++d) {
      if ((spot.devices >> d & 1) == 0) continue;
      Device& device = node.devices[d];
      const DeviceFacts& f = facts.devices[d];
      int64_t memory = request.memory_bytes > 0
                           ? static_cast<int64_t>(request.memory_bytes)
                           : static_cast<int64_t>(f.memory_bytes / 100 * request.memory_percent);
      int64_t compute = request.compute_permille;
      if (!f.partitions.empty()) {
        const PartitionProfile* profile = nullptr;
        for (const PartitionProfile& p : f.partitions) {
          const bool wanted = request.partition.empty() ? static_cast<int64_t>(p.memory_bytes) >= memory &&
                                                              p.compute_permille >= compute
                                                        : p.name == request.partition;
          if (wanted && (profile == nullptr || p.slots < profile->slots)) profile = &p;
        }
        if (profile == nullptr) {
          ok = false;
          continue;
        }
        memory = static_cast<int64_t>(profile->memory_bytes);
        compute = profile->compute_permille;
        const uint8_t bits = partition_bits(*profile, spot.partition_starts[d]);
        const bool may_start = (profile->starts >> spot.partition_starts[d] & 1) != 0;
        ok &= may_start && (sign < 0 || (device.slots & bits) == 0);
        device.slots = static_cast<uint8_t>(sign > 0 ? device.slots | bits : device.slots & ~bits);
      } else if (!request.partition.empty()) {
        ok = false;
      }
      if (sign > 0) {
        ok &= f.healthy && !f.cordoned && !device.exclusive && device.claims < f.max_claims;
        if (request.exclusive || request.prefer == Prefer::Mutex) ok &= device.claims == 0;
        if (!request.models.empty()) ok &= request.models[0] == f.model;
      }
      device.memory -= sign * memory;
      device.compute -= sign * compute;
      device.claims += sign;
      if (request.exclusive) device.exclusive = sign > 0;
      ok &= device.memory >= 0 && device.compute >= 0;
    }
    if (request.near == Near::SameIsland && request.near_required && std::popcount(spot.devices) > 1) {
      ok &= island(spot) >= 0;
    }
    return ok && std::popcount(spot.devices) == static_cast<int>(request.devices);
  }

  // Whether all members lie in one domain of the level.
  bool together(const std::vector<Member>& members, Level level, int role) const {
    std::map<int64_t, int> seen;
    for (const Member& m : members) {
      if (role >= 0 && static_cast<int>(m.role) != role) continue;
      const NodeFacts& facts = cluster_.facts(m.spot.node);
      int64_t domain = 0;
      if (level == Level::Block)
        domain = facts.block.empty() ? -1 : static_cast<int64_t>(std::hash<std::string>{}(facts.block) >> 1);
      if (level == Level::Rack)
        domain = facts.rack.empty() ? -1 : static_cast<int64_t>(std::hash<std::string>{}(facts.rack) >> 1);
      if (level == Level::Node) domain = m.spot.node;
      if (level == Level::Island) domain = island(m.spot) < 0 ? -1 : m.spot.node * 100 + island(m.spot);
      if (domain < 0) return false;
      seen[domain] = 1;
    }
    return seen.size() <= 1;
  }

  bool possible() { return place(0, 0); }
  const std::vector<Node>& nodes() const { return nodes_; }

 private:
  int64_t island(const Spot& spot) const {
    const NodeFacts& facts = cluster_.facts(spot.node);
    int64_t common = -2;
    for (uint32_t d = 0; d < facts.devices.size(); ++d) {
      if ((spot.devices >> d & 1) == 0) continue;
      const int64_t own = facts.devices[d].link_island;
      if (own < 0 || (common >= 0 && common != own)) return -1;
      common = own;
    }
    return common;
  }

  bool place(uint32_t role, uint32_t member) {
    if (role == gang_.roles.size()) return true;
    const GangRole& r = gang_.roles[role];
    if (member == r.min) return place(role + 1, 0);
    for (NodeIndex n = 0; n < nodes_.size(); ++n) {
      for (uint32_t set = 0; set < (1u << nodes_[n].devices.size()); ++set) {
        if (std::popcount(set) != static_cast<int>(cluster_.shape(r.shape).request.devices)) continue;
        // All starts of all partitions.
        std::vector<Spot> ways = {{n, static_cast<uint16_t>(set), {}}};
        for (uint32_t d = 0; d < nodes_[n].devices.size(); ++d) {
          if ((set >> d & 1) == 0 || cluster_.facts(n).devices[d].partitions.empty()) continue;
          std::vector<Spot> more;
          for (const Spot& w : ways) {
            for (uint8_t s = 0; s < 4; ++s) {
              more.push_back(w);
              more.back().partition_starts[d] = s;
            }
          }
          ways = more;
        }
        for (const Spot& spot : ways) {
          members_.push_back({role, spot});
          const std::vector<Node> before = nodes_;
          if (apply(spot, r.shape, 1) && together(members_, gang_.required, -1) &&
              together(members_, r.within, static_cast<int>(role)) && place(role, member + 1))
            return true;
          nodes_ = before;
          members_.pop_back();
        }
      }
    }
    return false;
  }

  const Cluster& cluster_;
  const Gang& gang_;
  std::vector<Node> nodes_;
  std::vector<Member> members_;
};

TEST(GangProperty, FeasibilityEqualsTryingEverything) {
  uint64_t placed = 0, infeasible = 0, exhausted = 0;
  for (uint64_t seed = 0; seed < cases(); ++seed) {
    Random random(seed);
    Cluster cluster;
    const uint64_t machines = 1 + random.below(3);
    for (uint64_t n = 0; n < machines; ++n)
      testing::put(cluster, testing::random_machine(random, "n" + std::to_string(n)));
    Gang gang;
    const uint64_t roles = 1 + random.below(3);
    uint32_t members = 0;
    for (uint64_t r = 0; r < roles; ++r) {
      const Result<ShapeId> shape = cluster.shape_id(testing::random_request(random));
      if (!shape) continue;
      GangRole role{*shape, static_cast<uint32_t>(1 + random.below(roles == 1 ? 3 : 2)), 0,
                    static_cast<Level>(random.below(3) == 0 ? random.below(5) : 0)};
      role.max = role.min + static_cast<uint32_t>(random.below(3));
      if (members + role.min > 4) break;
      members += role.min;
      gang.roles.push_back(role);
    }
    if (gang.roles.empty()) continue;
    // A claim without devices lies in no island.
    const bool no_devices = std::ranges::any_of(
        gang.roles, [&](const GangRole& r) { return cluster.shape(r.shape).request.devices == 0; });
    gang.required = static_cast<Level>(random.below(2) == 0 ? random.below(5) : 0);
    gang.preferred = static_cast<Level>(random.below(4));
    if (no_devices) {
      if (gang.required == Level::Island) gang.required = Level::Node;
      for (GangRole& role : gang.roles) role.within = std::min(role.within, Level::Node);
    }
    const uint64_t empty = cluster.hash();
    FirstFit policy;
    GangPlacer placer;
    const GangVerdict verdict = placer.place(cluster, policy, gang);
    Reference reference(cluster, gang);
    switch (verdict.outcome) {
      case Outcome::Placed: {
        ++placed;
        std::vector<Member> found;
        std::vector<uint32_t> counts(gang.roles.size());
        for (const GangMember& m : verdict.members) {
          ASSERT_TRUE(reference.apply(m.spot, gang.roles[m.role].shape, 1)) << "seed " << seed;
          found.push_back({m.role, m.spot});
          ++counts[m.role];
        }
        ASSERT_TRUE(reference.together(found, gang.required, -1)) << "seed " << seed;
        for (uint32_t r = 0; r < counts.size(); ++r) {
          ASSERT_GE(counts[r], gang.roles[r].min) << "seed " << seed;
          ASSERT_LE(counts[r], gang.roles[r].max) << "seed " << seed;
          ASSERT_TRUE(reference.together(found, gang.roles[r].within, static_cast<int>(r)))
              << "seed " << seed;
        }
        for (const GangMember& m : verdict.members) cluster.give(m.spot, gang.roles[m.role].shape);
        ASSERT_EQ(cluster.hash(), empty) << "seed " << seed;
        break;
      }
      case Outcome::Infeasible:
        ++infeasible;
        ASSERT_EQ(cluster.hash(), empty) << "seed " << seed;
        ASSERT_FALSE(reference.possible()) << "proved infeasible, but it fits; seed " << seed;
        break;
      case Outcome::BudgetExhausted:
        ++exhausted;
        ASSERT_EQ(cluster.hash(), empty) << "seed " << seed;
    }
  }
  EXPECT_GT(placed, cases() / 4);
  EXPECT_GT(infeasible, cases() / 4);
  EXPECT_EQ(exhausted, 0u) << "small cases are searched to the end";
}

}  // namespace
}  // namespace tweendeck::placement

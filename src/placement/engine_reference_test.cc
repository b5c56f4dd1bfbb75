// The engine against a slow, obvious reference on random small cases: partitions, nearness of devices, racks and blocks,
// queues, namespaces and gangs. The reference keeps lists of facts and of what was placed, adds up quotas from those, and
// tries every spot of every member. After each event: what was placed could be placed, and for whoever waits no
// solution exists or no quota. 10^5 verdicts compared, 10^6 with TWEENDECK_SOAK.
#include <gtest/gtest.h>

#include <cstdlib>
#include <map>

#include "placement/cluster/reference_testing.h"
#include "placement/engine.h"
#include "placement/policy/make_policy.h"

namespace tweendeck::placement {
namespace {

using reference::Held;
using reference::Node;

uint64_t wanted_verdicts() {
  if (std::getenv("TWEENDECK_SOAK") != nullptr) return 1'000'000;
#ifdef NDEBUG
  return 100'000;
#else
  return 10'000;
#endif
}

constexpr uint32_t kSteps = 10;
constexpr uint32_t kMaxMembers = 3;
const char* const kPolicies[] = {"binpack", "spread", "fgd", "hami", "fragmentation"};

struct Asked {
  Request request;
  bool in_queue = false;
  bool in_space = false;
  GroupId group = 0;
  uint32_t role = 0;
};

struct Quota {
  int64_t devices = kUnlimited, memory = kUnlimited, compute = kUnlimited, of_model_a = kUnlimited;
};

// Sums of what claims ask for.
Quota sum(const std::vector<Asked>& claims) {
  Quota total{0, 0, 0, 0};
  for (const Asked& claim : claims) {
    const Request& r = claim.request;
    total.devices += r.devices;
    total.memory += static_cast<int64_t>(r.memory_bytes) * r.devices;
    total.compute += int64_t{r.compute_permille} * r.devices;
    if (r.models == std::vector<std::string>{"A"}) total.of_model_a += r.devices;
  }
  return total;
}

bool within(const Quota& sum, const Quota& limit) {
  return sum.devices <= limit.devices && sum.memory <= limit.memory && sum.compute <= limit.compute &&
         sum.of_model_a <= limit.of_model_a;
}

struct Verdicts {  // that were compared
  uint64_t placed = 0, without_room = 0, without_quota = 0, gangs_placed = 0, gangs_without_room = 0;
  uint64_t all() const { return placed + without_room + without_quota + gangs_without_room; }
};

class Case {
 public:
  Case(uint64_t seed, Verdicts& verdicts)
      : verdicts_(verdicts),
        random_(seed),
        engine_(std::move(*make_policy({kPolicies[seed % std::size(kPolicies)], {}})), {}) {
    const uint64_t nodes = 1 + random_.below(3);
    for (uint64_t n = 0; n < nodes; ++n) {
      NodeFacts facts = reference::random_node(random_, static_cast<int>(n));
      if (facts.devices.size() > 3) facts.devices.resize(3);
      if (random_.below(4) != 0) facts.block = "b" + std::to_string(random_.below(2));
      if (!facts.block.empty() && random_.below(4) != 0)
        facts.rack = facts.block + "r" + std::to_string(random_.below(2));
      facts_.push_back(facts);
      send(NodePut{facts});
    }
    queue_.devices = static_cast<int64_t>(1 + random_.below(5));
    queue_.of_model_a = static_cast<int64_t>(random_.below(4));
    send(QueuePut{0, {"q", "", 1, {{"devices", 0, queue_.devices}, {"model:A", 0, queue_.of_model_a}}}});
    space_.devices = static_cast<int64_t>(1 + random_.below(5));
    space_.compute = static_cast<int64_t>(1000 * random_.below(4));
    send(NamespacePut{0,
                      "s",
                      {{"limits.nvidia.com/gpu", std::to_string(space_.devices)},
                       {"limits.nvidia.com/gpucores", std::to_string(space_.compute / 10)}}});
  }

  void run() {
    for (uint32_t step = 0; step < kSteps; ++step) {
      switch (random_.below(8)) {
        case 0:
          if (!held_.empty())
            end(std::next(held_.begin(), static_cast<ptrdiff_t>(random_.below(held_.size())))->first);
          break;
        case 1: {
          NodeFacts& facts = facts_[random_.below(facts_.size())];
          facts.cordoned = random_.below(3) == 0;
          send(NodeCordon{facts.name, facts.cordoned});
          break;
        }
        case 2:
        case 3:
          submit_gang();
          break;
        default:
          submit(Asked{reference::random_request(random_), random_.below(2) == 0, random_.below(2) == 0});
      }
      ASSERT_NO_FATAL_FAILURE(check());
    }
  }

 private:
  void send(const Event& event) {
    std::vector<ClaimDecision> out;
    const Status status = engine_.apply(event, out);
    ASSERT_TRUE(status) << to_string(status.error());
    for (const ClaimDecision& d : out) {
      ASSERT_NE(d.verdict, Verdict::Rejected) << to_string(d.reason);
      if (d.verdict == Verdict::Placed) {
        ASSERT_NO_FATAL_FAILURE(place(d));
      }
    }
  }

  // It could be placed there, and quotas allowed it.
  void place(const ClaimDecision& d) {
    const Request& request = asked_.at(d.claim).request;
    const Node node = reference::rebuild(facts_[d.spot.node], d.spot.node, list());
    Spot spot = d.spot;
    spot.node = 0;
    ASSERT_TRUE(reference::any_spot(node, request, [&](const Spot& other) { return other == spot; }));
    ++verdicts_.placed;
    verdicts_.gangs_placed += asked_.at(d.claim).group != 0 ? 1 : 0;
    held_[d.claim] = Held{d.spot, 0, request};
    ASSERT_TRUE(quota_allows({})) << "a quota is passed";
  }

  std::vector<Held> list() const {
    std::vector<Held> list;
    for (const auto& entry : held_) list.push_back(entry.second);
    return list;
  }

  bool quota_allows(const std::vector<Asked>& more) const {
    std::vector<Asked> in_queue, in_space;
    const auto count = [&](const Asked& claim) {
      if (claim.in_queue) in_queue.push_back(claim);
      if (claim.in_space) in_space.push_back(claim);
    };
    for (const auto& entry : held_) count(asked_.at(entry.first));
    for (const Asked& claim : more) count(claim);
    return within(sum(in_queue), queue_) && within(sum(in_space), space_);
  }

  uint32_t shape_of(const Request& request) {
    send(ShapeDefined{shapes_, request});
    return shapes_++;
  }

  void submit(Asked asked, uint32_t shape = kNoNumber) {
    if (shape == kNoNumber) shape = shape_of(asked.request);
    ClaimSubmitted claim;
    claim.claim = ++claims_;
    claim.shape = shape;
    claim.queue = asked.in_queue ? 0 : kNoNumber;
    claim.space = asked.in_space ? 0 : kNoNumber;
    claim.group = asked.group;
    claim.role = asked.role;
    asked.request = engine_.cluster().shape(*engine_.shape(shape)).request;
    asked_[claim.claim] = asked;
    send(claim);
  }

  void submit_gang() {
    GroupPut put;
    put.group = ++groups_;
    put.queue = random_.below(2) == 0 ? 0 : kNoNumber;
    put.space = random_.below(2) == 0 ? 0 : kNoNumber;
    put.required = static_cast<Level>(random_.below(4));
    uint32_t members = 0;
    for (uint64_t roles = 1 + random_.below(2); roles > 0; --roles) {
      GroupRole role;
      role.shape = shape_of(reference::random_request(random_));
      role.min = role.max = static_cast<uint32_t>(1 + random_.below(2));
      role.within = random_.below(3) == 0 ? static_cast<Level>(random_.below(4)) : Level::Cluster;
      if (members + role.min > kMaxMembers) continue;
      members += role.min;
      put.roles.push_back(role);
    }
    gangs_[put.group] = put;
    send(put);
    for (uint32_t role = 0; role < put.roles.size(); ++role) {
      for (uint32_t i = 0; i < put.roles[role].min; ++i) {
        submit(Asked{{}, put.queue == 0, put.space == 0, put.group, role}, put.roles[role].shape);
      }
    }
  }

  void end(ClaimId claim) {
    held_.erase(claim);
    send(ClaimWithdrawn{claim, 0});
  }

  std::string domain(NodeIndex node, Level level) const {
    if (level == Level::Cluster) return "all";
    if (level == Level::Block) return facts_[node].block;
    return level == Level::Rack ? facts_[node].rack : facts_[node].name;
  }

  // Whether the members from the given one on have spots, beside those before them.
  bool possible(const GroupPut& gang, const std::vector<Asked>& members, std::vector<Held>& all,
                std::vector<NodeIndex>& where) const {
    const size_t next = where.size();
    if (next == members.size()) return true;
    const auto together = [&](NodeIndex node, size_t other, Level level) {
      return !domain(node, level).empty() && domain(node, level) == domain(where[other], level);
    };
    for (NodeIndex n = 0; n < facts_.size(); ++n) {
      const GroupRole& role = gang.roles[members[next].role];
      bool allowed = !domain(n, gang.required).empty() && !domain(n, role.within).empty();
      for (size_t other = 0; other < next; ++other) {
        allowed = allowed && together(n, other, gang.required);
        if (members[other].role == members[next].role) allowed = allowed && together(n, other, role.within);
      }
      if (!allowed) continue;
      const Node node = reference::rebuild(facts_[n], n, all);
      const bool found = reference::any_spot(node, members[next].request, [&](const Spot& spot) {
        Spot here = spot;
        here.node = n;
        all.push_back({here, 0, members[next].request});
        where.push_back(n);
        const bool rest = possible(gang, members, all, where);
        where.pop_back();
        all.pop_back();
        return rest;
      });
      if (found) return true;
    }
    return false;
  }

  void check() {
    std::map<GroupId, std::vector<Asked>> waiting;
    for (const auto& [id, asked] : asked_) {
      const auto status = engine_.status(id);
      if (!status) continue;
      const bool holds = status->state != ClaimState::Pending;
      ASSERT_EQ(holds, held_.contains(id));
      if (holds) continue;
      ASSERT_NE(status->reason, Reason::SearchBudgetExhausted) << "small cases are searched to the end";
      const bool of_quota =
          status->reason == Reason::QueueAtLimit || status->reason == Reason::ExceedsQueueLimit ||
          status->reason == Reason::NamespaceQuotaReached || status->reason == Reason::ExceedsNamespaceQuota;
      if (asked.group != 0) {
        waiting[asked.group].push_back(asked);
        continue;
      }
      if (of_quota) {
        ++verdicts_.without_quota;
        ASSERT_FALSE(quota_allows({asked})) << to_string(status->reason);
        continue;
      }
      ++verdicts_.without_room;
      ASSERT_TRUE(status->reason == Reason::NoRoom || status->reason == Reason::NoSuchNode);
      for (NodeIndex n = 0; n < facts_.size(); ++n) {
        ASSERT_FALSE(reference::fits_times(reference::rebuild(facts_[n], n, list()), asked.request, 1))
            << "claim " << id << " would fit";
      }
    }
    for (const auto& [group, members] : waiting) {
      const GroupPut& gang = gangs_.at(group);
      size_t needed = 0;
      for (const GroupRole& role : gang.roles) needed += role.min;
      ASSERT_EQ(members.size(), needed) << "all or none of a gang";
      if (!quota_allows(members)) continue;
      ++verdicts_.gangs_without_room;
      std::vector<Held> all = list();
      std::vector<NodeIndex> where;
      ASSERT_FALSE(possible(gang, members, all, where)) << "gang " << group << " would fit";
    }
  }

  Verdicts& verdicts_;
  Random random_;
  Engine engine_;
  std::vector<NodeFacts> facts_;
  std::map<ClaimId, Held> held_;
  std::map<ClaimId, Asked> asked_;
  std::map<GroupId, GroupPut> gangs_;
  Quota queue_, space_;
  uint32_t shapes_ = 0;
  ClaimId claims_ = 0;
  GroupId groups_ = 0;
};

TEST(EngineReference, WhoWaitsHasNoSolution) {
  Verdicts verdicts;
  for (uint64_t seed = 0; verdicts.all() < wanted_verdicts(); ++seed) {
    Case c(seed, verdicts);
    c.run();
    if (::testing::Test::HasFatalFailure()) FAIL() << "seed " << seed;
  }
  for (const uint64_t part : {verdicts.placed, verdicts.without_room, verdicts.without_quota,
                              verdicts.gangs_placed, verdicts.gangs_without_room}) {
    EXPECT_GT(part, verdicts.all() / 50) << "each kind is met";
  }
}

}  // namespace
}  // namespace tweendeck::placement

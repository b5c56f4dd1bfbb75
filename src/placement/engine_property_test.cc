// Random events, with duplicates, losses, slow and wrong binds, lost nodes and restarts between reserve and bind,
// against what must always hold. A restart is a new engine that is told the same events. 10^5 events, 10^7 with
// TWEENDECK_SOAK.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <set>

#include "base/clock.h"
#include "placement/engine.h"
#include "placement/policy/make_policy.h"

namespace tweendeck::placement {
namespace {

constexpr uint64_t kEventsPerEpisode = 1000;
constexpr uint64_t kChecked = 20;  // events between full checks
// Of the first kDigestEpisodes episodes. The same with clang and gcc, at every optimisation; changes only when
// decisions are meant to change.
constexpr uint64_t kDigestEpisodes = 20;
constexpr uint64_t kDigest = 5743874428576126348ull;

uint64_t episodes() {
  if (std::getenv("TWEENDECK_SOAK") != nullptr) return 10'000;
#ifdef NDEBUG
  return 100;
#else
  return kDigestEpisodes;
#endif
}

const char* const kPolicies[] = {"binpack", "spread", "fgd", "hami", "hami:spread/mutex,numa,binpack"};
const std::vector<PartitionProfile> kProfiles = {
    {"1g", 10, 140, 1, 0b01111111}, {"2g", 20, 280, 2, 0b00010101}, {"4g", 40, 570, 4, 0b00000001}};

NodeFacts node_facts(Random& random, uint32_t number) {
  NodeFacts node;
  node.name = "node" + std::to_string(number);
  node.cpu_milli = 8'000 + 4'000 * (number % 3);
  node.memory_bytes = 1000;
  node.rack = "rack" + std::to_string(number / 2);
  for (uint32_t i = 0; i < number % 5; ++i) {
    DeviceFacts device;
    device.id = node.name + "-" + std::to_string(i);
    device.model = number % 2 == 0 ? "A" : "B";
    device.memory_bytes = 80;
    device.numa_node = static_cast<int32_t>(i / 2);
    device.healthy = random.below(12) != 0;
    if (number == 4) device.partitions = kProfiles;
    node.devices.push_back(device);
  }
  return node;
}

Request request_of(uint32_t shape) {
  Request request;
  request.cpu_milli = 500 + 500 * (shape % 3);
  switch (shape % 8) {
    case 0:
      break;
    case 1:
      request.devices = 1;
      request.compute_permille = 300;
      request.memory_bytes = 10;
      break;
    case 2:
      request.devices = 1;
      request.compute_permille = 1000;
      break;
    case 3:
      request.devices = 2;
      request.memory_percent = 50;
      request.near = Near::SameNuma;
      break;
    case 4:
      request.devices = 1;
      request.partition = "2g";
      break;
    case 5:
      request.devices = 1;
      request.memory_bytes = 20;
      request.models = {"A"};
      break;
    case 6:
      request.devices = 1;
      request.exclusive = true;
      request.memory_bytes = 1;
      break;
    default:
      request.devices = 3;
      request.compute_permille = 500;
      request.prefer = Prefer::Spread;
  }
  return request;
}

struct World {
  explicit World(uint64_t seed)
      : random(seed),
        policy(kPolicies[seed % std::size(kPolicies)]),
        preempt(seed >= kDigestEpisodes && seed % 2 == 1),
        engine(fresh()) {}

  std::unique_ptr<Engine> fresh() const {
    EngineSettings settings;
    settings.bind_timeout_ms = 50;
    settings.bind_backoff_ms = 5;
    settings.tries_per_event = 3;  // so that budgets end
    settings.preempt = preempt;
    settings.victim_searches_per_event = 2;
    return std::make_unique<Engine>(std::move(*make_policy({policy, {}})), settings);
  }

  // What decisions say must fit together: nothing is placed twice, nothing released that was not held.
  void heed(const ClaimDecision& d) {
    switch (d.verdict) {
      case Verdict::Placed:
        ASSERT_FALSE(held.contains(d.claim)) << d.claim;
        ASSERT_NE(d.spot.node, kNoNode);
        held[d.claim] = d.reservation;
        to_bind.emplace_back(d.claim, d.reservation);
        break;
      case Verdict::Released:
        ASSERT_EQ(held.count(d.claim), 1u);
        ASSERT_NE(d.reason, Reason::None);
        held.erase(d.claim);
        break;
      case Verdict::Ended:
        ASSERT_EQ(held.count(d.claim), d.spot.node == kNoNode ? 0u : 1u);
        held.erase(d.claim);
        break;
      case Verdict::Stop:
        to_stop.push_back(d.claim);
        [[fallthrough]];
      case Verdict::Bound:
      case Verdict::Resized:
        ASSERT_EQ(held.count(d.claim), 1u);
        break;
      case Verdict::Rejected:
      case Verdict::Waiting:
      case Verdict::Infeasible:
      case Verdict::BudgetExhausted:
        ASSERT_NE(d.reason, Reason::None);
        break;
    }
  }

  void send(const Event& event) {
    log.push_back(event);
    decisions.clear();
    (void)engine->apply(event, decisions);
    if (std::holds_alternative<Timer>(event)) last_timer = engine->now_ms();
    for (const ClaimDecision& d : decisions) ASSERT_NO_FATAL_FAILURE(heed(d));
    if (const auto* adoption = std::get_if<ClaimAdopted>(&event)) was_adopted.insert(adoption->claim.claim);
    adopted += std::holds_alternative<ClaimAdopted>(event) && decisions.front().verdict != Verdict::Rejected;
  }

  void restart() {
    auto again = fresh();
    std::vector<ClaimDecision> ignored;
    for (const Event& event : log) (void)again->apply(event, ignored);
    ASSERT_EQ(again->hash(), engine->hash());
    engine = std::move(again);
  }

  ClaimId some_claim() { return 1 + random.below(claims + 2); }

  // What was true of a claim's place once may over-commit a device by now; of who is bound or ended it does no harm.
  bool may_be_late(const Event& event) const {
    const auto* adoption = std::get_if<ClaimAdopted>(&event);
    if (adoption == nullptr) return true;
    const ClaimSlot slot = engine->claims().find(adoption->claim.claim);
    if (slot == kNoSlot) return false;
    const ClaimState state = engine->claims()[slot].state;
    return state == ClaimState::Bound || state == ClaimState::Ended;
  }

  // Somewhere where there is room, be it closed or unhealthy, so that nothing is over-committed. Of a claim that is
  // known, or a new one, or a gang's member that nobody was told of.
  Event adoption() {
    ClaimAdopted event;
    event.claim = {some_claim(), static_cast<uint32_t>(random.below(17)), kNoNumber, 0, now};
    if (random.below(3) == 0) {
      event.claim.group = 1 + random.below(12);
      event.claim.role = static_cast<uint32_t>(random.below(2));
      event.claim.shape = event.claim.role == 1 ? 5 : 1 + static_cast<uint32_t>(random.below(2));
    }
    if (const Groups::Index group = engine->groups().find(event.claim.group);
        group != Groups::kNone && engine->groups()[group].queue != kNoQueue) {
      return Timer{now};  // its quota may be used up
    }
    const ClaimSlot slot = engine->claims().find(event.claim.claim);
    const bool over = slot == kNoSlot || engine->claims()[slot].state == ClaimState::Ended ||
                      engine->claims()[slot].state == ClaimState::Bound;
    if (random.below(over ? 8 : 2) != 0) {
      event.claim.claim = ++claims;
    } else if (slot == kNoSlot) {
      return event;  // from nowhere
    } else if (const Claim& known = engine->claims()[slot]; known.queue != kNoQueue) {
      return Timer{now};  // its quota may be used up
    } else {
      while (event.claim.shape < 16 && engine->shape(event.claim.shape) != known.shape) ++event.claim.shape;
    }
    for (int tries = 0; tries < 4; ++tries) {
      event.node = "node" + std::to_string(random.below(7));
      event.devices.clear();
      if (has_room(event)) return event;
    }
    return Timer{now};
  }

  // Adds the devices. What is unknown or names too few devices is sent as well: it is refused.
  bool has_room(ClaimAdopted& event) {
    const Cluster& cluster = engine->cluster();
    const std::optional<ShapeId> shape = engine->shape(event.claim.shape);
    const NodeIndex node = cluster.find_node(event.node);
    if (!shape || node == kNoNode) return random.below(4) == 0;
    const Request& request = cluster.shape(*shape).request;
    const NodeState& state = cluster.nodes()[node];
    if (state.cpu_free_milli < static_cast<int64_t>(request.cpu_milli)) return false;
    const auto first = static_cast<uint32_t>(random.below(2));
    for (uint32_t i = first; i < first + request.devices; ++i) {
      if (i >= cluster.facts(node).devices.size()) return random.below(4) == 0;
      const SliceSize size = cluster.slice_size(state.type, *shape, i);
      if (state.memory_free[i] < static_cast<int64_t>(size.memory_bytes)) return false;
      event.devices.push_back({cluster.facts(node).devices[i].id, static_cast<uint8_t>(random.below(4) * 2)});
    }
    return true;
  }

  Event random_event() {
    now += static_cast<int64_t>(random.below(6));
    switch (random.below(25)) {
      case 24:
        return adoption();
      case 20:
        return GroupPut{1 + random.below(12),
                        {{1 + static_cast<uint32_t>(random.below(2)),
                          1 + static_cast<uint32_t>(random.below(3)), 4, static_cast<Level>(random.below(5))},
                         {5, 1, 2, Level::Cluster}},
                        static_cast<Level>(random.below(4)),
                        Level::Node,
                        random.below(2) == 0 ? kNoNumber : 1u,
                        static_cast<int32_t>(random.below(2)),
                        now};
      case 21:
        if (random.below(4) == 0) return GroupGone{1 + random.below(12)};
        [[fallthrough]];
      case 22:
      case 23: {
        const auto role = static_cast<uint32_t>(random.below(2));
        const uint32_t shape = role == 1 ? 5 : 1 + static_cast<uint32_t>(random.below(2));
        return ClaimSubmitted{++claims, shape, kNoNumber, 0, now, 1 + random.below(12), role};
      }
      case 0:
        return NodePut{node_facts(random, static_cast<uint32_t>(random.below(7)))};
      case 1:
        if (random.below(3) == 0) return NodeGone{"node" + std::to_string(random.below(7))};
        return DeviceHealth{"node" + std::to_string(random.below(7)) + "-0", random.below(2) == 0};
      case 2:
        return NodeCordon{"node" + std::to_string(random.below(7)), random.below(3) == 0};
      case 3:
      case 4:
        return Timer{now};
      case 5:
        return ClaimWithdrawn{some_claim(), now};
      case 6:
      case 7:
      case 8:
        if (!to_stop.empty() && random.below(3) != 0) {
          const ClaimId claim = to_stop.back();
          to_stop.pop_back();
          return ClaimWithdrawn{claim, now};
        }
        if (!held.empty() && random.below(2) == 0) return ClaimWithdrawn{held.begin()->first, now};
        return ClaimWithdrawn{some_claim(), now};
      case 9:
        return Resize{some_claim(), static_cast<uint32_t>(random.below(17)), now};
      case 10:
        return BindFailed{some_claim(), random.below(50), now};
      case 11:
      case 12:
      case 13:
      case 14: {
        if (to_bind.empty()) return Timer{now};
        const size_t which = random.below(to_bind.size());
        const auto [claim, reservation] = to_bind[which];
        if (random.below(4) != 0) to_bind.erase(to_bind.begin() + static_cast<ptrdiff_t>(which));
        if (random.below(6) == 0) return BindFailed{claim, reservation, now};
        if (random.below(6) == 0) return Timer{now};  // the message is lost
        return BindConfirmed{claim, reservation, now};
      }
      default:
        ClaimSubmitted claim{++claims, static_cast<uint32_t>(random.below(17)),
                             random.below(3) == 0 ? kNoNumber : static_cast<uint32_t>(random.below(3)),
                             static_cast<int32_t>(random.below(2)),
                             now - static_cast<int64_t>(random.below(4))};
        claim.family = random.below(8);
        if (claim.family != 0)
          claim.apart = claim.family < 3 ? Apart::Required : static_cast<Apart>(random.below(2));
        return claim;
    }
  }

  void check() const;
  bool holds_family(FamilyId family, NodeIndex node) const;

  Random random;
  const char* policy;
  bool preempt;
  std::unique_ptr<Engine> engine;
  std::vector<Event> log;
  std::vector<ClaimDecision> decisions;
  std::map<ClaimId, uint64_t> held;
  std::vector<std::pair<ClaimId, uint64_t>> to_bind;
  std::vector<ClaimId> to_stop;
  ClaimId claims = 0;
  uint64_t adopted = 0;
  std::set<ClaimId> was_adopted;
  int64_t now = 0;
  int64_t last_timer = 0;  // the engine's time at the last Timer
};

Amounts amounts(const Request& request) {
  Amounts sum{};
  sum[kDevices] = request.devices;
  sum[kMemory] = static_cast<int64_t>(request.memory_bytes * request.devices);
  sum[kCompute] = int64_t{request.compute_permille} * request.devices;
  return sum;
}

bool World::holds_family(FamilyId family, NodeIndex node) const {
  for (ClaimSlot slot = 0; slot < engine->claims().slots(); ++slot) {
    const Claim& claim = engine->claims()[slot];
    const bool holds = claim.state == ClaimState::Reserved || claim.state == ClaimState::Bound;
    if (holds && claim.family == family && claim.spot.node == node) return true;
  }
  return false;
}

void World::check() const {
  const Cluster& cluster = engine->cluster();
  Cluster book = cluster;  // what is left when every claim gives back what it says it holds
  std::map<QueueId, Amounts> used;
  std::set<std::pair<FamilyId, NodeIndex>> apart;
  size_t pending = 0;
  size_t reserved = 0;
  size_t bound = 0;
  for (ClaimSlot slot = 0; slot < engine->claims().slots(); ++slot) {
    const Claim& claim = engine->claims()[slot];
    if (claim.state == ClaimState::Free || claim.state == ClaimState::Ended) continue;
    const auto status = engine->status(claim.id);
    ASSERT_TRUE(status);
    if (claim.state == ClaimState::Pending) {
      ++pending;
      ASSERT_FALSE(held.contains(claim.id));
      ASSERT_NE(status->reason, Reason::None) << "every claim that waits has a reason";
      const uint64_t promise =
          claim.group == Groups::kNone ? claim.id : engine->groups()[claim.group].promise;
      if (claim.promised || claim.group == Groups::kNone) {
        ASSERT_EQ(claim.promised, engine->handovers().waits(promise));
      }
      if (claim.promised && claim.queue != kNoQueue) {
        add(used[claim.queue], amounts(cluster.shape(claim.shape).request));
      }
      if (status->reason == Reason::DeviceAlreadyUsed) {
        for (NodeIndex node = 0; node < cluster.nodes().size(); ++node) {
          if (cluster.fits(node, claim.shape)) {
            ASSERT_TRUE(holds_family(claim.family, node))
                << "claim " << claim.id << " could be on node " << node;
          }
        }
      }
      if (status->reason == Reason::NoRoom || status->reason == Reason::NoSuchNode) {
        for (NodeIndex node = 0; node < cluster.nodes().size(); ++node) {
          ASSERT_FALSE(cluster.fits(node, claim.shape))
              << "claim " << claim.id << " would fit on node " << node;
        }
      }
      continue;
    }
    ++(claim.state == ClaimState::Reserved ? reserved : bound);
    ASSERT_TRUE(held.contains(claim.id));
    if (claim.apart == Apart::Required && !was_adopted.contains(claim.id)) {
      ASSERT_TRUE(apart.emplace(claim.family, claim.spot.node).second) << "two of a family on one node";
    }
    ASSERT_EQ(held.at(claim.id), claim.reservation);
    if (claim.state == ClaimState::Reserved) {
      ASSERT_GT(claim.deadline_ms, last_timer) << "a reservation that nobody confirmed outlived a Timer";
    }
    if (claim.queue != kNoQueue) add(used[claim.queue], amounts(cluster.shape(claim.shape).request));
    book.give(claim.spot, claim.shape);  // stops the process if it is not held
  }
  for (const Promise& held_back : engine->handovers().held()) book.give(held_back.spot, held_back.shape);
  for (Groups::Index index = 0; index < engine->groups().slots(); ++index) {
    const Group& group = engine->groups()[index];
    if (!group.used) continue;
    uint32_t holding = 0;
    uint32_t stopping = 0;
    bool whole = true;
    for (size_t role = 0; role < group.members.size(); ++role) {
      const auto held_here =
          static_cast<uint32_t>(std::ranges::count_if(group.members[role], [&](ClaimSlot slot) {
            return engine->claims()[slot].state != ClaimState::Pending;
          }));
      holding += held_here;
      for (const ClaimSlot slot : group.members[role]) {
        stopping += engine->handovers().is_victim(engine->claims()[slot].id) ? 1 : 0;
      }
      whole = whole && held_here >= group.needed(role);
    }
    const bool all_stop = group.stopping && holding > 0 && holding == stopping;
    ASSERT_TRUE(all_stop || (group.started ? whole : holding == 0)) << "gang " << group.id << " holds a part";
  }
  ASSERT_EQ(pending, engine->pending());
  ASSERT_EQ(reserved, engine->reserved());
  ASSERT_EQ(bound, engine->bound());
  ASSERT_EQ(reserved + bound, held.size()) << "a reservation leaked";
  for (NodeIndex i = 0; i < book.nodes().size(); ++i) {
    const NodeState& full = cluster.nodes()[i];
    ASSERT_GE(full.cpu_free_milli, 0);
    ASSERT_GE(full.memory_free_bytes, 0);
    const NodeState& empty = book.nodes()[i];
    const NodeFacts& facts = book.facts(i);
    ASSERT_EQ(empty.claims_held, 0u);
    ASSERT_EQ(empty.cpu_free_milli, static_cast<int32_t>(facts.cpu_milli));
    for (uint32_t device = 0; device < full.device_count; ++device) {
      ASSERT_GE(full.memory_free[device], 0);
      ASSERT_LE(full.compute_free[device], kWholeCompute);
      ASSERT_EQ(empty.memory_free[device], static_cast<int64_t>(facts.devices[device].memory_bytes));
      ASSERT_EQ(empty.compute_free[device], kWholeCompute);
      ASSERT_EQ(empty.claims[device], 0);
      ASSERT_EQ(empty.partition_slots[device], 0);
    }
  }
  for (const auto& [queue, sum] : used) {
    for (const size_t resource : {kDevices, kMemory, kCompute}) {
      ASSERT_EQ(engine->queues().used(queue)[resource], sum[resource]);
      ASSERT_LE(sum[resource], engine->queues().limit(queue)[resource]) << "quota";
    }
  }
}

void run_episode(uint64_t seed, uint64_t& digest, uint64_t& adopted) {
  World world(seed);
  Random& random = world.random;
  for (uint32_t shape = 0; shape < 16; ++shape) world.send(ShapeDefined{shape, request_of(shape)});
  world.send(QueuePut{0, {"team", "", 1, {{"devices", 2, 6}}}});
  world.send(QueuePut{1, {"other", "", 2, {{"compute", 0, 3000}}}});
  for (uint32_t node = 0; node < 5; ++node) world.send(NodePut{node_facts(random, node)});
  for (uint64_t i = 0; i < kEventsPerEpisode; ++i) {
    const uint64_t fate = random.below(30);
    if (fate == 0) {  // again, late
      const Event late = world.log[random.below(world.log.size())];
      if (world.may_be_late(late)) {
        ASSERT_NO_FATAL_FAILURE(world.send(late));
      }
    } else {
      const Event event = world.random_event();
      if (fate == 1) continue;  // lost
      ASSERT_NO_FATAL_FAILURE(world.send(event));
      if (fate == 2) {  // twice
        ASSERT_NO_FATAL_FAILURE(world.send(Event(event)));
      }
    }
    if (i % kChecked == 0) {
      ASSERT_NO_FATAL_FAILURE(world.check());
    }
    if (i == kEventsPerEpisode / 2) {
      ASSERT_NO_FATAL_FAILURE(world.restart());
    }
  }
  ASSERT_NO_FATAL_FAILURE(world.check());
  ASSERT_NO_FATAL_FAILURE(world.restart());
  adopted += world.adopted;
  digest = (digest ^ world.engine->hash()) * 0x9e3779b97f4a7c15ull;
}

TEST(EngineProperty, HoldsWhateverHappens) {
  uint64_t digest = 0;
  uint64_t adopted = 0;
  for (uint64_t seed = 0; seed < episodes(); ++seed) {
    run_episode(seed, digest, adopted);
    if (testing::Test::HasFatalFailure()) FAIL() << "seed " << seed;
    if (seed + 1 == kDigestEpisodes) {
      EXPECT_EQ(digest, kDigest);
    }
  }
  EXPECT_GT(adopted, 5 * episodes()) << "adoptions were tried";
}

}  // namespace
}  // namespace tweendeck::placement

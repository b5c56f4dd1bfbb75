// For the engine's property test: a small cluster to which everything happens that may, events twice, late and lost
// among them, and which holds every decision to what was decided before. Events go through the text log, so that what
// is replayed is what a log file would hold.
#pragma once

#include <gtest/gtest.h>

#include <iterator>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "base/clock.h"
#include "placement/engine.h"
#include "placement/event_log.h"
#include "placement/policy/make_policy.h"

namespace tweendeck::placement::testing {

inline constexpr uint32_t kWorldNodes = 7;
inline constexpr uint32_t kWorldShapes = 16;
inline constexpr uint32_t kWorldQueues = 2;
inline constexpr uint32_t kWorldSpaces = 2;
inline constexpr uint32_t kWorldBudgets = 3;
inline constexpr uint32_t kWorldGroups = 12;

inline NodeFacts world_node(Random& random, uint32_t number) {
  static const std::vector<PartitionProfile> kProfiles = {
      {"1g", 10, 140, 1, 0b01111111}, {"2g", 20, 280, 2, 0b00010101}, {"4g", 40, 570, 4, 0b00000001}};
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
    device.link_island = static_cast<int32_t>(i / 2);
    device.healthy = random.below(12) != 0;
    if (number == 4) device.partitions = kProfiles;
    node.devices.push_back(device);
  }
  return node;
}

inline Request world_request(uint32_t shape) {
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

class World {
 public:
  explicit World(uint64_t seed)
      : random(seed),
        policy_(kPolicies[seed % std::size(kPolicies)]),
        preempt_(seed % 3 != 0),
        engine(fresh()) {}

  void send(const Event& event) {
    const std::string line = to_line(event);
    log.push_back(line);
    const Result<Event> read = parse_event(line);
    ASSERT_TRUE(read) << line;
    ASSERT_EQ(*read, event) << line;
    decisions.clear();
    const bool applied = engine->apply(*read, decisions).has_value();
    if (const auto* put = std::get_if<BudgetPut>(&event); put != nullptr && applied) {
      budgets_[put->budget] = *put;
    }
    if (std::holds_alternative<Timer>(event)) last_timer = engine->now_ms();
    if (std::holds_alternative<ClaimAdopted>(event)) {
      adopted += decisions.front().verdict != Verdict::Rejected ? 1 : 0;
      was_adopted.insert(std::get<ClaimAdopted>(event).claim.claim);
    }
    for (const ClaimDecision& d : decisions) {
      ASSERT_NO_FATAL_FAILURE(heed(d)) << line;
    }
  }

  // As after a crash: a new engine reads the log.
  void restart() {
    std::unique_ptr<Engine> again = fresh();
    std::vector<ClaimDecision> ignored;
    for (const std::string& line : log) {
      ignored.clear();
      (void)again->apply(*parse_event(line), ignored);
    }
    ASSERT_EQ(again->hash(), engine->hash());
    engine = std::move(again);
  }

  Event random_event();
  // What was true of a claim's place once may over-commit a device by now; of who is bound or ended it does no harm.
  bool may_be_late(const Event& event) const {
    const auto* adoption = std::get_if<ClaimAdopted>(&event);
    if (adoption == nullptr) return true;
    const ClaimSlot slot = engine->claims().find(adoption->claim.claim);
    if (slot == kNoSlot) return false;
    const ClaimState state = engine->claims()[slot].state;
    return state == ClaimState::Bound || state == ClaimState::Ended;
  }
  // As it was last put.
  BudgetPut budget(BudgetId id) const {
    const auto known = budgets_.find(id);
    return known == budgets_.end() ? BudgetPut{} : known->second;
  }

  Random random;

 private:
  static constexpr const char* kPolicies[] = {"binpack", "spread", "fgd", "hami",
                                              "hami:spread/mutex,numa,binpack"};

  std::unique_ptr<Engine> fresh() const {
    EngineSettings settings;
    settings.bind_timeout_ms = 50;
    settings.bind_backoff_ms = 5;
    settings.tries_per_event = 3;  // so that budgets end
    settings.preempt = preempt_;
    settings.victim_searches_per_event = 2;
    return std::make_unique<Engine>(std::move(*make_policy({policy_, {}})), settings);
  }

  // What decisions say must fit together: nothing is placed twice, nothing released that was not held, nobody stopped
  // who may not be.
  void heed(const ClaimDecision& d) {
    switch (d.verdict) {
      case Verdict::Placed:
        ASSERT_FALSE(held.contains(d.claim)) << d.claim;
        ASSERT_NE(d.spot.node, kNoNode);
        held[d.claim] = d.reservation;
        started_[d.claim] = engine->now_ms();
        to_bind_.emplace_back(d.claim, d.reservation);
        break;
      case Verdict::Released:
        ASSERT_EQ(held.count(d.claim), 1u);
        ASSERT_NE(d.reason, Reason::None);
        held.erase(d.claim);
        break;
      case Verdict::Ended:
        ASSERT_EQ(held.count(d.claim), d.spot.node == kNoNode ? 0u : 1u);
        held.erase(d.claim);
        submitted_.erase(d.claim);
        break;
      case Verdict::Stop: {
        ASSERT_EQ(held.count(d.claim), 1u);
        ASSERT_TRUE(preempt_);
        const ClaimSubmitted& claim = submitted_.at(d.claim);
        ASSERT_TRUE(claim.preemptible);
        ASSERT_GE(engine->now_ms() - started_.at(d.claim), claim.min_runtime_ms) << "too early";
        to_stop_.push_back(d.claim);
        break;
      }
      case Verdict::Bound:
        started_[d.claim] = engine->now_ms();
        [[fallthrough]];
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

  ClaimId some_claim() { return 1 + random.below(claims_ + 2); }
  uint32_t number(uint32_t limit) {  // or none
    const auto chosen = static_cast<uint32_t>(random.below(limit + 1));
    return chosen == limit ? kNoNumber : chosen;
  }
  Event submit(GroupId group);
  Event withdraw();
  Event bind();
  Event rules();
  Event adopt();
  bool find_room(ClaimAdopted& event);

  const char* policy_;
  bool preempt_;
  std::map<ClaimId, ClaimSubmitted> submitted_;  // not ended
  std::map<ClaimId, int64_t> started_;
  std::map<BudgetId, BudgetPut> budgets_;
  std::vector<std::pair<ClaimId, uint64_t>> to_bind_;
  std::vector<ClaimId> to_stop_;
  ClaimId claims_ = 0;
  int64_t now_ = 0;

 public:
  std::unique_ptr<Engine> engine;
  std::vector<std::string> log;
  std::vector<ClaimDecision> decisions;
  std::map<ClaimId, uint64_t> held;  // reservation
  uint64_t adopted = 0;
  std::set<ClaimId> was_adopted;
  int64_t last_timer = 0;  // the engine's time at the last Timer
};

inline Event World::submit(GroupId group) {
  ClaimSubmitted claim;
  claim.claim = ++claims_;
  claim.time_ms = now_ - static_cast<int64_t>(random.below(4));
  if (group != 0) {
    claim.group = group;
    claim.role = static_cast<uint32_t>(random.below(2));
    claim.shape = claim.role == 1 ? 5 : 1 + static_cast<uint32_t>(random.below(2));
  } else {
    claim.shape = static_cast<uint32_t>(random.below(kWorldShapes + 1));
    claim.queue = random.below(3) == 0 ? kNoNumber : static_cast<uint32_t>(random.below(kWorldQueues + 1));
    claim.space = number(kWorldSpaces);
    claim.priority = static_cast<int32_t>(random.below(3));
    if (random.below(4) == 0) claim.weights = static_cast<uint32_t>(random.below(3));
    claim.family = random.below(8);
    if (claim.family != 0) {
      claim.apart = claim.family < 3 ? Apart::Required : static_cast<Apart>(random.below(2));
    }
  }
  if (random.below(3) == 0) claim.budget = 1 + random.below(kWorldBudgets);
  if (random.below(4) == 0) claim.min_runtime_ms = static_cast<int64_t>(random.below(40));
  claim.preemptible = random.below(10) != 0;
  submitted_[claim.claim] = claim;
  return claim;
}

inline Event World::withdraw() {
  ClaimId claim = some_claim();
  if (!to_stop_.empty() && random.below(3) != 0) {
    const size_t which = random.below(to_stop_.size());
    claim = to_stop_[which];
    to_stop_.erase(to_stop_.begin() + static_cast<ptrdiff_t>(which));
  } else if (!held.empty() && random.below(2) == 0) {
    claim = held.begin()->first;
  }
  return ClaimWithdrawn{claim, now_};
}

inline Event World::bind() {
  if (to_bind_.empty()) return Timer{now_};
  const size_t which = random.below(to_bind_.size());
  const auto [claim, reservation] = to_bind_[which];
  if (random.below(4) != 0) to_bind_.erase(to_bind_.begin() + static_cast<ptrdiff_t>(which));
  if (random.below(6) == 0) return BindFailed{claim, reservation, now_};
  if (random.below(6) == 0) return Timer{now_};  // the message is lost
  return BindConfirmed{claim, reservation, now_};
}

// Quotas, budgets and weights, as they are at the start and as they change.
inline Event World::rules() {
  const auto count = [&](uint64_t least, uint64_t most) {
    return static_cast<int64_t>(least + random.below(most - least + 1));
  };
  switch (random.below(8)) {
    case 0:
      return QueuePut{0, {"team", "", 1, {{"devices", 2, count(3, 7)}, {"model:A", 0, count(1, 4)}}}};
    case 1:
      return QueuePut{
          1, {"other", "", 2, {{"compute", 0, 1000 * count(1, 4)}, {"memory", 0, 10 * count(3, 9)}}}};
    case 2:
      return NamespacePut{0, "red", {{"limits.nvidia.com/gpu", std::to_string(count(2, 6))}}};
    case 3:
      return NamespacePut{1, "blue", {{"requests.nvidia.com/gpucores", std::to_string(100 * count(1, 4))}}};
    case 4:
    case 5:
      return BudgetPut{1 + random.below(kWorldBudgets), static_cast<uint32_t>(random.below(3)),
                       random.below(2) == 0 ? kNoNumber : static_cast<uint32_t>(random.below(3))};
    default:
      return WeightsOnNode{"node" + std::to_string(random.below(kWorldNodes)),
                           static_cast<uint32_t>(random.below(3)),
                           static_cast<uint32_t>(500 * random.below(3))};
  }
}

// Somewhere where there is room, be it closed or unhealthy, so that nothing is over-committed, and of no quota, which may
// be used up. Of a claim that is known, or a new one, or a gang's member that nobody was told of.
inline Event World::adopt() {
  ClaimAdopted event;
  event.claim.claim = some_claim();
  event.claim.shape = static_cast<uint32_t>(random.below(kWorldShapes + 1));
  event.claim.time_ms = now_;
  if (random.below(3) == 0) {
    event.claim.group = 1 + random.below(kWorldGroups);
    event.claim.role = static_cast<uint32_t>(random.below(2));
    event.claim.shape = event.claim.role == 1 ? 5 : 1 + static_cast<uint32_t>(random.below(2));
  }
  if (random.below(3) == 0) event.claim.budget = 1 + random.below(kWorldBudgets);
  const Groups::Index group = engine->groups().find(event.claim.group);
  const bool of_quota = group != Groups::kNone && (engine->groups()[group].queue != kNoQueue ||
                                                   engine->groups()[group].space != kNoNamespace);
  if (of_quota) return Timer{now_};
  const ClaimSlot slot = engine->claims().find(event.claim.claim);
  const bool over = slot == kNoSlot || engine->claims()[slot].state == ClaimState::Ended ||
                    engine->claims()[slot].state == ClaimState::Bound;
  if (random.below(over ? 8 : 2) != 0) {
    event.claim.claim = ++claims_;
    submitted_[event.claim.claim] = event.claim;
  } else if (slot == kNoSlot) {
    return event;  // from nowhere
  } else {
    const Claim& known = engine->claims()[slot];
    if (known.queue != kNoQueue || known.space != kNoNamespace) return Timer{now_};
    while (event.claim.shape < kWorldShapes && engine->shape(event.claim.shape) != known.shape)
      ++event.claim.shape;
  }
  for (int tries = 0; tries < 4; ++tries) {
    event.node = "node" + std::to_string(random.below(kWorldNodes));
    event.devices.clear();
    if (find_room(event)) return event;
  }
  return Timer{now_};
}

// Adds the devices. What is unknown or names too few devices is sent as well: it is refused.
inline bool World::find_room(ClaimAdopted& event) {
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

inline Event World::random_event() {
  now_ += static_cast<int64_t>(random.below(6));
  switch (random.below(27)) {
    case 0:
      return NodePut{world_node(random, static_cast<uint32_t>(random.below(kWorldNodes)))};
    case 1:
      if (random.below(3) == 0) return NodeGone{"node" + std::to_string(random.below(kWorldNodes))};
      return DeviceHealth{"node" + std::to_string(random.below(kWorldNodes)) + "-0", random.below(2) == 0};
    case 2:
      if (random.below(3) == 0) {
        return DeviceCordon{"node" + std::to_string(random.below(kWorldNodes)) + "-1", random.below(3) == 0};
      }
      return NodeCordon{"node" + std::to_string(random.below(kWorldNodes)), random.below(3) == 0};
    case 3:
    case 4:
      if (random.below(60) == 0) now_ += kHandoverTimeoutMs;  // a clock that jumps, victims that do not go
      return Timer{now_};
    case 5:
    case 6:
    case 7:
    case 8:
      return withdraw();
    case 9:
      return Resize{some_claim(), static_cast<uint32_t>(random.below(kWorldShapes + 1)), now_};
    case 10:
      return BindFailed{some_claim(), random.below(50), now_};
    case 11:
    case 12:
    case 13:
    case 14:
      return bind();
    case 15: {
      GroupPut put;
      put.group = 1 + random.below(kWorldGroups);
      put.roles = {{1 + static_cast<uint32_t>(random.below(2)), 1 + static_cast<uint32_t>(random.below(3)), 4,
                    static_cast<Level>(random.below(5))}};
      if (random.below(3) != 0) put.roles.push_back({5, 1, 2, Level::Cluster});
      put.required = static_cast<Level>(random.below(4));
      put.preferred = Level::Node;
      put.queue = number(kWorldQueues);
      put.space = number(kWorldSpaces);
      put.priority = static_cast<int32_t>(random.below(3));
      put.time_ms = now_;
      return put;
    }
    case 16:
      if (random.below(4) == 0) return GroupGone{1 + random.below(kWorldGroups)};
      [[fallthrough]];
    case 17:
    case 18:
      return submit(1 + random.below(kWorldGroups));
    case 19:
      return rules();
    case 20:
      return adopt();
    default:
      return submit(0);
  }
}

}  // namespace tweendeck::placement::testing

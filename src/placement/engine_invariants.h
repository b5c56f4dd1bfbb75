// For the engine's property test: what must hold after every event, worked out from the claims alone.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <vector>

#include "placement/engine_world.h"

namespace tweendeck::placement::testing {

// What a claim is charged for, said once more.
inline Amounts charged(const Engine& engine, const Claim& claim) {
  const Request& request = engine.cluster().shape(claim.shape).request;
  Amounts sum{};
  sum[kDevices] = request.devices;
  sum[kMemory] = static_cast<int64_t>(request.memory_bytes * request.devices);
  sum[kCompute] = int64_t{request.compute_permille} * request.devices;
  if (claim.model_resource != 0) sum[claim.model_resource] = request.devices;
  return sum;
}

class Invariants {
 public:
  explicit Invariants(const World& world) : world_(world) {}

  // After every event.
  void after_event() {
    count();
    ASSERT_NO_FATAL_FAILURE(quota_kept());
    ASSERT_NO_FATAL_FAILURE(budgets_kept());
    ASSERT_NO_FATAL_FAILURE(gangs_whole());
  }

  // Also what takes longer.
  void all() {
    ASSERT_NO_FATAL_FAILURE(after_event());
    ASSERT_NO_FATAL_FAILURE(book_matches_claims());
    ASSERT_NO_FATAL_FAILURE(families_apart());
    ASSERT_NO_FATAL_FAILURE(reasons_are_current());
  }

 private:
  const Engine& engine() const { return *world_.engine; }
  bool is_victim(const Claim& claim) const { return engine().handovers().is_victim(claim.id); }
  template <class Use>
  void each_claim(const Use& use) const {
    for (ClaimSlot slot = 0; slot < engine().claims().slots(); ++slot) {
      const Claim& claim = engine().claims()[slot];
      if (claim.state != ClaimState::Free && claim.state != ClaimState::Ended) use(claim);
    }
  }

  void count() {
    queues_then_ = std::move(queues_);
    spaces_then_ = std::move(spaces_);
    queues_.clear();
    spaces_.clear();
    each_claim([&](const Claim& claim) {
      if (claim.state == ClaimState::Pending && !claim.promised) return;
      if (claim.queue != kNoQueue) add(queues_[claim.queue], charged(engine(), claim));
      if (claim.space != kNoNamespace) add(spaces_[claim.space], charged(engine(), claim));
    });
  }

  // What is charged is what is held or promised, and an amount above a limit (which may have been lowered) does not grow,
  // unless a queue names a model that was not counted before.
  void quota_kept() const {
    const bool new_rules = world_.log.back().starts_with("queue ");
    const auto holds = [&](const Amounts& now, const Amounts& then, const Amounts& limit, size_t resources) {
      for (size_t r = 0; r < resources; ++r) {
        if (now[r] > limit[r] && now[r] > then[r] && !new_rules) return false;
      }
      return true;
    };
    const auto before = [](const std::map<uint32_t, Amounts>& all, uint32_t id) {
      const auto found = all.find(id);
      return found == all.end() ? Amounts{} : found->second;
    };
    for (QueueId id = 1; id < engine().queues().size(); ++id) {
      const Amounts now = before(queues_, id);
      ASSERT_EQ(engine().queues().used(id), now) << "queue " << id;
      ASSERT_TRUE(holds(now, before(queues_then_, id), engine().queues().limit(id), kMaxResources))
          << "queue " << id;
    }
    for (NamespaceId id = 0; id < engine().namespaces().size(); ++id) {
      const Amounts now = before(spaces_, id);
      ASSERT_EQ(engine().namespaces().used(id), now) << "namespace " << id;
      ASSERT_TRUE(holds(now, before(spaces_then_, id), engine().namespaces().limit(id), kFirstModel))
          << "namespace " << id;
    }
  }

  // Whoever was told to stop, his budget allowed it: it holds what it needs without all that are being stopped.
  void budgets_kept() const {
    std::map<BudgetId, std::pair<uint32_t, uint32_t>> counts;  // stay, are expected
    std::map<BudgetId, bool> stopped;
    each_claim([&](const Claim& claim) {
      if (claim.budget == kNoBudget) return;
      ++counts[claim.budget].second;
      counts[claim.budget].first += claim.state != ClaimState::Pending && !is_victim(claim) ? 1 : 0;
      stopped[claim.budget] |= std::ranges::any_of(world_.decisions, [&](const ClaimDecision& d) {
        return d.claim == claim.id && d.verdict == Verdict::Stop;
      });
    });
    for (const auto& entry : stopped) {
      if (!entry.second) continue;
      const BudgetPut budget = world_.budget(entry.first);
      const auto& [stay, expected] = counts[entry.first];
      ASSERT_GE(stay, budget.min_available) << "budget " << entry.first;
      ASSERT_LE(expected - stay, budget.max_unavailable) << "budget " << entry.first;
    }
  }

  // A gang holds enough in each role (what ended counts), or nothing, or is being stopped as a whole. Members that are
  // being stopped alone are not needed.
  void gangs_whole() const {
    for (Groups::Index index = 0; index < engine().groups().slots(); ++index) {
      const Group& group = engine().groups()[index];
      if (!group.used) continue;
      uint32_t holding = 0, victims = 0, waiting = 0, promised = 0;
      bool whole = true;
      for (size_t role = 0; role < group.members.size(); ++role) {
        uint32_t staying = 0;
        for (const ClaimSlot slot : group.members[role]) {
          const Claim& claim = engine().claims()[slot];
          ASSERT_EQ(claim.group, index);
          promised += claim.promised ? 1 : 0;
          if (claim.state == ClaimState::Pending) {
            ++waiting;
            continue;
          }
          ++holding;
          ++(is_victim(claim) ? victims : staying);
        }
        ASSERT_LE(group.members[role].size(), group.gang.roles[role].max);
        whole = whole && staying >= group.needed(role);
      }
      ASSERT_EQ(group.waiting, waiting) << "gang " << group.id;
      ASSERT_EQ(group.promised, promised > 0) << "gang " << group.id;
      if (group.stopping) {
        ASSERT_TRUE(holding > 0 && victims == holding) << "gang " << group.id << " stops in part";
      } else {
        ASSERT_TRUE(group.started ? whole : holding == 0) << "gang " << group.id << " holds a part";
      }
    }
  }

  bool holds_family(FamilyId family, NodeIndex node) const {
    bool holds = false;
    each_claim([&](const Claim& claim) {
      holds |= claim.state != ClaimState::Pending && claim.family == family && claim.spot.node == node;
    });
    return holds;
  }

  // Who must keep apart does, unless somebody else put it there.
  void families_apart() const {
    std::map<std::pair<FamilyId, NodeIndex>, int> on;
    each_claim([&](const Claim& claim) {
      const bool counts = claim.state != ClaimState::Pending && claim.apart == Apart::Required &&
                          !world_.was_adopted.contains(claim.id);
      if (!counts) return;
      EXPECT_EQ(++on[std::pair(claim.family, claim.spot.node)], 1) << "two of a family on one node";
    });
  }

  void book_matches_claims() const {
    const Cluster& cluster = engine().cluster();
    Cluster book = cluster;  // what is left when every claim gives back what it says it holds
    size_t pending = 0, reserved = 0, bound = 0, victims = 0;
    each_claim([&](const Claim& claim) {
      if (claim.state == ClaimState::Pending) {
        ++pending;
        EXPECT_FALSE(world_.held.contains(claim.id));
        return;
      }
      ++(claim.state == ClaimState::Reserved ? reserved : bound);
      victims += is_victim(claim) ? 1 : 0;
      EXPECT_TRUE(world_.held.contains(claim.id) && world_.held.at(claim.id) == claim.reservation);
      if (claim.state == ClaimState::Reserved) {
        EXPECT_GT(claim.deadline_ms, world_.last_timer)
            << "a reservation that nobody confirmed outlived a Timer";
      }
      book.give(claim.spot, claim.shape);  // stops the process if it is not held
    });
    for (const Promise& kept : engine().handovers().held()) book.give(kept.spot, kept.shape);
    ASSERT_EQ(pending, engine().pending());
    ASSERT_EQ(reserved, engine().reserved());
    ASSERT_EQ(bound, engine().bound());
    ASSERT_EQ(reserved + bound, world_.held.size()) << "a reservation leaked";
    ASSERT_TRUE(engine().handovers().size() > 0 || victims == 0);
    for (NodeIndex i = 0; i < book.nodes().size(); ++i) {
      const NodeState& full = cluster.nodes()[i];
      ASSERT_GE(full.cpu_free_milli, 0);
      ASSERT_GE(full.memory_free_bytes, 0);
      const NodeState& empty = book.nodes()[i];
      const NodeFacts& facts = book.facts(i);
      ASSERT_EQ(empty.claims_held, 0u) << "something is held by nobody";
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
  }

  // Every claim that waits says why, and that is so now.
  void reasons_are_current() const {
    each_claim([&](const Claim& claim) {
      if (claim.state != ClaimState::Pending || ::testing::Test::HasFatalFailure()) return;
      const ClaimStatus status = engine().status(claim.id).value();
      const std::string who =
          "claim " + std::to_string(claim.id) + ": " + std::string(to_string(status.reason));
      const Group* group = claim.group == Groups::kNone ? nullptr : &engine().groups()[claim.group];
      EXPECT_EQ(status.reason == Reason::PreemptionPending,
                claim.promised || (group != nullptr && group->promised))
          << who;
      if (claim.promised) {
        EXPECT_TRUE(engine().handovers().waits(group == nullptr ? claim.id : group->promise)) << who;
      }
      switch (status.reason) {
        case Reason::NoRoom:
        case Reason::NoSuchNode:
          for (NodeIndex node = 0; node < engine().cluster().nodes().size(); ++node) {
            EXPECT_FALSE(engine().cluster().fits(node, claim.shape)) << who << ", but node " << node;
          }
          break;
        case Reason::DeviceAlreadyUsed:
          for (NodeIndex node = 0; node < engine().cluster().nodes().size(); ++node) {
            EXPECT_TRUE(!engine().cluster().fits(node, claim.shape) || holds_family(claim.family, node))
                << who << ", but node " << node;
          }
          break;
        case Reason::QueueAtLimit:
        case Reason::ExceedsQueueLimit:
        case Reason::NamespaceQuotaReached:
        case Reason::ExceedsNamespaceQuota: {
          Amounts ask = charged(engine(), claim);
          if (group != nullptr) ask = least_of(*group, claim);
          EXPECT_FALSE(engine().namespaces().admit(claim.space, ask).admitted() &&
                       (claim.queue == kNoQueue || engine().queues().admit(claim.queue, ask).admitted()))
              << who;
          break;
        }
        case Reason::BindFailed:
        case Reason::BindTimeout:
        case Reason::NodeLost:
          EXPECT_TRUE(claim.resting || (group != nullptr && group->rest_until_ms > engine().now_ms())) << who;
          break;
        case Reason::GangIncomplete:
          EXPECT_TRUE(group != nullptr && !group->started && !group->gathered()) << who;
          break;
        case Reason::GangTooLarge:
          EXPECT_TRUE(group->started || !could_start(*group)) << who;
          break;
        case Reason::GangBroken:
          EXPECT_TRUE(group->stopping || group->rest_until_ms > engine().now_ms()) << who;
          break;
        case Reason::SearchBudgetExhausted:
        case Reason::PreemptionPending:
          break;
        default:
          ADD_FAILURE() << who << " is no reason to wait";
      }
    });
  }

  // What is asked for at least: the minimum of all roles, or one more member.
  Amounts least_of(const Group& group, const Claim& claim) const {
    if (group.started) return charged(engine(), claim);
    Amounts sum{};
    for (size_t role = 0; role < group.members.size(); ++role) {
      const Claim& member = engine().claims()[group.members[role].front()];
      for (uint32_t i = 0; i < group.needed(role); ++i) add(sum, charged(engine(), member));
    }
    return sum;
  }

  bool could_start(const Group& group) const {
    Cluster copy = engine().cluster();
    GangPlacer placer;
    const auto policy = std::move(*make_policy({"binpack", {}}));
    Gang gang = group.gang;
    for (size_t role = 0; role < gang.roles.size(); ++role) {
      gang.roles[role].min = gang.roles[role].max = group.needed(role);
    }
    std::erase_if(gang.roles, [](const GangRole& role) { return role.min == 0; });
    return placer.place(copy, *policy, gang).outcome == Outcome::Placed;
  }

  const World& world_;
  std::map<uint32_t, Amounts> queues_, spaces_, queues_then_, spaces_then_;
};

}  // namespace tweendeck::placement::testing

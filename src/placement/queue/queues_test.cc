#include "placement/queue/queues.h"

#include <gtest/gtest.h>

#include <map>

#include "base/clock.h"
#include "placement/queue/namespace_quota.h"

namespace tweendeck::placement {
namespace {

constexpr int kEvents = 20'000;

Amounts devices(int64_t count) {
  Amounts a{};
  a[kDevices] = count;
  return a;
}

QueueId put(Queues& queues, const std::string& name, const std::string& parent, int64_t guaranteed,
            int64_t limit = kUnlimited, uint32_t weight = 1) {
  const Result<QueueId> id = queues.put({name, parent, weight, {{"devices", guaranteed, limit}}});
  EXPECT_TRUE(id.has_value()) << (id ? "" : to_string(id.error()));
  return id ? *id : kNoQueue;
}

TEST(Queues, TiersOfAdmission) {
  Queues queues;
  queues.set_capacity(devices(100), 0);
  put(queues, "org", "", 20, 30);
  const QueueId a = put(queues, "a", "org", 10, 25);
  const QueueId b = put(queues, "b", "org", 10);
  EXPECT_EQ(queues.admit(a, devices(10)).tier, QuotaTier::Guaranteed);
  EXPECT_EQ(queues.admit(a, devices(11)).tier, QuotaTier::Borrowing);
  EXPECT_EQ(queues.admit(a, devices(26)),
            (Admission{QuotaTier::Never, Reason::ExceedsQueueLimit, a, kDevices, 1}));
  queues.charge(b, devices(12), 0);
  EXPECT_EQ(queues.admit(a, devices(20)),
            (Admission{QuotaTier::Waiting, Reason::QueueAtLimit, queues.find("org"), kDevices, 2}));
  EXPECT_EQ(queues.admit(a, devices(18)).tier, QuotaTier::Borrowing);
  queues.refund(b, devices(12), 0);
  EXPECT_EQ(queues.admit(a, devices(20)).tier, QuotaTier::Borrowing);
}

TEST(Queues, FairSharesFollowGuaranteesThenWeightsAmongThoseThatWant) {
  Queues queues;
  queues.set_capacity(devices(100), 0);
  const QueueId a = put(queues, "a", "", 40, kUnlimited, 1);
  const QueueId b = put(queues, "b", "", 0, kUnlimited, 3);
  const QueueId idle = put(queues, "idle", "", 30);
  queues.add_pending(a, devices(200));
  queues.add_pending(b, devices(200));
  EXPECT_EQ(queues.fair_share(a)[kDevices], 55);
  EXPECT_EQ(queues.fair_share(b)[kDevices], 45);
  EXPECT_EQ(queues.fair_share(idle)[kDevices], 0);
  queues.add_pending(idle, devices(10));
  EXPECT_EQ(queues.fair_share(idle)[kDevices], 10);
  queues.drop_pending(b, devices(195));
  EXPECT_EQ(queues.fair_share(b)[kDevices], 5);
  EXPECT_EQ(queues.fair_share(a)[kDevices], 85);
}

TEST(Queues, TheOneWithLessOfItsFairShareIsNext) {
  Queues queues;
  queues.set_capacity(devices(100), 0);
  put(queues, "x", "", 0);
  const QueueId x1 = put(queues, "x1", "x", 0);
  const QueueId y = put(queues, "y", "", 0);
  for (const QueueId q : {x1, y}) queues.add_pending(q, devices(100));
  EXPECT_TRUE(queues.before(x1, y));  // equal: the lower id
  queues.charge(x1, devices(1), 0);
  EXPECT_TRUE(queues.before(y, x1));
  EXPECT_FALSE(queues.before(x1, y));
}

TEST(Queues, PastUsageLowersAWeightAndFades) {
  Queues queues({.half_life_ms = 1000, .usage_weight = 1000});
  queues.set_capacity(devices(100), 0);
  const QueueId a = put(queues, "a", "", 0), b = put(queues, "b", "", 0);
  queues.charge(a, devices(100), 0);
  queues.refund(a, devices(100), 20'000);
  for (const QueueId q : {a, b}) queues.add_pending(q, devices(100));
  EXPECT_EQ(queues.fair_share(a)[kDevices], 33);  // weight 1/2 against 1
  queues.set_now(60'000);
  EXPECT_EQ(queues.fair_share(a)[kDevices], 50);
}

TEST(Queues, ReclaimGoesToWhoIsBelowAndTakesFromWhoIsAboveItsShare) {
  Queues queues;
  queues.set_capacity(devices(10), 0);
  const QueueId a = put(queues, "a", "", 4), b = put(queues, "b", "", 4);
  queues.charge(b, devices(10), 0);
  queues.add_pending(a, devices(10));
  // Fair: 5 and 5.
  EXPECT_TRUE(queues.may_reclaim(a, devices(5)));
  EXPECT_FALSE(queues.may_reclaim(a, devices(6)));
  EXPECT_FALSE(queues.may_reclaim(b, devices(1)));
  std::vector<Amounts> lost(queues.size());
  EXPECT_TRUE(queues.may_lose(b, a, devices(5), devices(5), lost));
  EXPECT_FALSE(queues.may_lose(b, a, devices(5), devices(6), lost));
  lost[b] = devices(5);
  EXPECT_FALSE(queues.may_lose(b, a, devices(5), devices(1), lost));
  EXPECT_FALSE(queues.may_lose(a, a, devices(5), devices(1), lost))
      << "its own queue is preemption, not reclaim";
}

TEST(Queues, RefusesWhatCouldNotBeKept) {
  Queues queues;
  put(queues, "org", "", 10);
  const auto refused = [&](const QueueSpec& spec, Reason reason) {
    const Result<QueueId> id = queues.put(spec);
    ASSERT_FALSE(id.has_value()) << spec.name;
    EXPECT_EQ(id.error().reason, reason) << to_string(id.error());
  };
  refused({"a", "org", 1, {{"devices", 11, kUnlimited}}}, Reason::InvalidArgument);
  refused({"a", "org", 1, {{"devices", 5, 4}}}, Reason::InvalidArgument);
  refused({"a", "org", 1, {{"gpus", 5, 6}}}, Reason::InvalidArgument);
  refused({"a", "org", 1, {{"model:", 5, 6}}}, Reason::InvalidArgument);
  refused({"a", "nobody", 1, {}}, Reason::NotFound);
  refused({"a", "org", kMaxQueueWeight + 1, {}}, Reason::InvalidArgument);
  const QueueId a = put(queues, "a", "org", 10);
  refused({"org", "", 1, {{"devices", 9, kUnlimited}}}, Reason::InvalidArgument);
  refused({"a", "", 1, {}}, Reason::InvalidArgument);
  queues.charge(a, devices(1), 0);
  refused({"below", "a", 1, {}}, Reason::InvalidArgument);
  EXPECT_FALSE(queues.remove("a").has_value());
  queues.refund(a, devices(1), 0);
  EXPECT_TRUE(queues.remove("a").has_value());
  for (size_t m = 0; m < kMaxResources - kFirstModel; ++m)
    ASSERT_TRUE(queues.model_resource("m" + std::to_string(m)));
  refused({"z", "org", 1, {{"model:one more", 0, 1}}}, Reason::LimitExceeded);
}

TEST(Queues, QuotaPerModel) {
  Queues queues;
  const Result<QueueId> a = queues.put({"a", "", 1, {{"model:H100", 2, 4}}});
  ASSERT_TRUE(a);
  Amounts ask = devices(5);
  EXPECT_TRUE(queues.admit(*a, ask).admitted()) << "of another model";
  ask[static_cast<size_t>(queues.find_model("H100"))] = 5;
  EXPECT_EQ(queues.admit(*a, ask).tier, QuotaTier::Never);
  EXPECT_EQ(queues.resource_name(queues.admit(*a, ask).resource), "model:H100");
  EXPECT_EQ(queues.find_model("A10"), -1);
}

// Random trees and events against sums taken anew from the leaves.
TEST(QueuesProperty, SumsSharesAndLimitsHoldUnderRandomEvents) {
  Random random(7);
  Queues queues({.half_life_ms = 5000, .usage_weight = 500});
  queues.set_capacity(devices(60), 0);
  std::vector<std::string> names = {""};
  std::map<QueueId, int64_t> used, pending;
  int64_t now = 0;
  for (int event = 0; event < kEvents; ++event) {
    now += static_cast<int64_t>(random.below(200));
    const uint64_t kind = random.below(40);
    if (kind == 0 && names.size() < 24) {
      const std::string name = "q" + std::to_string(event);
      const auto guaranteed = static_cast<int64_t>(random.below(8));
      if (queues.put(
              {name,
               names[random.below(names.size())],
               static_cast<uint32_t>(random.below(5)),
               {{"devices", guaranteed,
                 random.below(2) == 0 ? kUnlimited : guaranteed + static_cast<int64_t>(random.below(40))}}}))
        names.push_back(name);
    } else if (kind == 1 && names.size() > 1) {
      const size_t which = 1 + random.below(names.size() - 1);
      if (queues.remove(names[which])) names.erase(names.begin() + static_cast<std::ptrdiff_t>(which));
    } else if (kind == 2) {
      queues.set_capacity(devices(40 + static_cast<int64_t>(random.below(40))), now);
    }
    std::vector<QueueId> leaves;
    for (QueueId q = 0; q < queues.size(); ++q) {
      if (queues.is_leaf(q)) leaves.push_back(q);
    }
    if (leaves.empty()) continue;
    const QueueId leaf = leaves[random.below(leaves.size())];
    const auto count = static_cast<int64_t>(1 + random.below(6));
    switch (random.below(4)) {
      case 0:
        queues.add_pending(leaf, devices(count));
        pending[leaf] += count;
        break;
      case 1:
        if (pending[leaf] < count) break;
        queues.drop_pending(leaf, devices(count));
        pending[leaf] -= count;
        break;
      case 2:
        if (!queues.admit(leaf, devices(count)).admitted()) break;
        queues.charge(leaf, devices(count), now);
        used[leaf] += count;
        break;
      default:
        if (used[leaf] < count) break;
        queues.refund(leaf, devices(count), now);
        used[leaf] -= count;
    }
    std::vector<int64_t> sums(queues.size()), fair(queues.size());
    bool guarantees_fit = true;
    int64_t guaranteed = 0;
    for (QueueId q = 1; q < queues.size(); ++q) {
      if (!queues.exists(q)) continue;
      if (queues.is_leaf(q)) {
        for (QueueId up = q;; up = queues.parent(up)) {
          sums[up] += used[q];
          if (up == kRootQueue) break;
        }
      }
      fair[queues.parent(q)] += queues.fair_share(q)[kDevices];
      if (queues.parent(q) == kRootQueue) guaranteed += queues.guaranteed(q)[kDevices];
    }
    guarantees_fit = guaranteed <= queues.capacity()[kDevices];
    for (QueueId q = 0; q < queues.size(); ++q) {
      if (!queues.exists(q)) continue;
      ASSERT_EQ(queues.used(q)[kDevices], sums[q]) << "event " << event;
      const int64_t share = q == kRootQueue ? queues.capacity()[kDevices] : queues.fair_share(q)[kDevices];
      ASSERT_LE(fair[q], share) << "children of " << q << " have more than it, event " << event;
      if (q == kRootQueue) continue;
      ASSERT_LE(queues.used(q)[kDevices], queues.limit(q)[kDevices]);
      if (queues.is_leaf(q) && guarantees_fit) {
        ASSERT_GE(share, std::min({queues.guaranteed(q)[kDevices], used[q] + pending[q]}))
            << "event " << event;
      }
    }
  }
}

TEST(NamespaceQuotas, HamisForm) {
  NamespaceQuotas quotas;
  const Result<NamespaceId> team = quotas.put("team", {{"limits.nvidia.com/gpumem", "20k"},
                                                       {"limits.nvidia.com/gpucores", "200"},
                                                       {"requests.nvidia.com/gpu", "4"},
                                                       {"limits.cpu", "96"}});
  ASSERT_TRUE(team);
  Amounts ask{};
  ask[kDevices] = 2;
  ask[kMemory] = int64_t{20'000} << 20;
  ask[kCompute] = 2000;
  EXPECT_TRUE(quotas.admit(*team, ask).admitted());
  quotas.charge(*team, ask);
  const Admission full = quotas.admit(*team, ask);
  EXPECT_EQ(full.tier, QuotaTier::Waiting);
  EXPECT_EQ(full.reason, Reason::NamespaceQuotaReached);
  EXPECT_EQ(full.resource, kMemory);
  quotas.refund(*team, ask);
  ask[kCompute] = 2001;
  EXPECT_EQ(quotas.admit(*team, ask).reason, Reason::ExceedsNamespaceQuota);
  EXPECT_TRUE(quotas.admit(kNoNamespace, ask).admitted());
  EXPECT_TRUE(quotas.put("team", {})) << "no limit any more";
  EXPECT_TRUE(quotas.admit(*team, ask).admitted());
  EXPECT_FALSE(quotas.put("team", {{"limits.nvidia.com/gpu", "-1"}}));
  EXPECT_EQ(quotas.find("other"), kNoNamespace);
}

}  // namespace
}  // namespace tweendeck::placement

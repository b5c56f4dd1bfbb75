// Who may use how much of the cluster: a tree of queues under the root, which is the cluster itself.
//
// A queue has, per resource, an amount that is guaranteed to it and a limit; what others leave is borrowed in
// proportion to weights (water_fill.h). Claims are charged to leaves; every amount counts in all queues above.
// A claim is admitted as long as it keeps the limits: borrowing needs no permission, because what was borrowed can
// be reclaimed (preempt/). `before` says whose turn it is, `may_reclaim` and `may_lose` who takes back from whom.
//
// Decisions are integers. Time comes in; without a half-life nothing here depends on it. Charging and admission are
// O(depth), fair shares O(siblings on the way to the root) after a change, and nothing is computed before it is
// asked for.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "placement/queue/amounts.h"
#include "placement/queue/decay.h"

namespace tweendeck::placement {

using QueueId = uint32_t;  // dense; an id is used again after its queue is gone
inline constexpr QueueId kRootQueue = 0;
inline constexpr QueueId kNoQueue = UINT32_MAX;
inline constexpr size_t kMaxQueues = 4096;
inline constexpr uint32_t kMaxQueueDepth = 16;
inline constexpr uint32_t kMaxQueueWeight = 10'000;

// What a queue has of one resource: "devices", "memory" (bytes), "compute" (permille of devices) or "model:NAME"
// (devices of that model).
struct QuotaRule {
  std::string resource;
  int64_t guaranteed = 0;
  int64_t limit = kUnlimited;
  bool operator==(const QuotaRule&) const = default;
};

struct QueueSpec {
  std::string name;    // unique in the tree
  std::string parent;  // "" = the root
  uint32_t weight = 1;
  std::vector<QuotaRule> rules;  // a resource without one: nothing guaranteed, no limit
  bool operator==(const QueueSpec&) const = default;
};

struct Fairness {
  int64_t half_life_ms = 0;   // 0 = past usage does not count
  uint32_t usage_weight = 0;  // permille: 1000 halves the weight of who used everything for long
};

// From best to worst; what a person should be told first.
enum class QuotaTier : uint8_t {
  Guaranteed,  // within its guarantee: may reclaim if there is no room
  Borrowing,   // within limits, with what others leave
  Waiting,     // a limit is reached now
  Never,       // more than a limit, whatever ends
};

struct Admission {
  QuotaTier tier = QuotaTier::Guaranteed;
  Reason reason = Reason::None;  // QueueAtLimit, ExceedsQueueLimit
  QueueId queue = kNoQueue;      // whose limit bars
  uint8_t resource = 0;
  int64_t lack = 0;  // of that resource
  bool admitted() const { return tier <= QuotaTier::Borrowing; }
  bool operator==(const Admission&) const = default;
};

class Queues {
 public:
  explicit Queues(const Fairness& fairness = {});

  // Creates or updates; a queue cannot move. Errors: InvalidArgument (with the field), NotFound (parent), Conflict
  // kinds as InvalidArgument: children's guarantees above the parent's, a parent that holds claims; LimitExceeded.
  Result<QueueId> put(const QueueSpec& spec);
  // Errors: NotFound; InvalidArgument while it has children or claims.
  Status remove(std::string_view name);
  QueueId find(std::string_view name) const;  // kNoQueue when unknown
  const QueueSpec& spec(QueueId queue) const { return queues_[queue].spec; }
  bool is_leaf(QueueId queue) const;

  // The number of "model:NAME", given on first use. Errors: LimitExceeded.
  Result<uint8_t> model_resource(std::string_view model);
  // The same without giving one; -1: no queue ever named the model, so nothing counts it.
  int find_model(std::string_view model) const;
  size_t resources() const { return resources_.size(); }
  const std::string& resource_name(uint8_t resource) const { return resources_[resource]; }

  void set_capacity(const Amounts& capacity, int64_t now_ms);
  const Amounts& capacity() const { return capacity_; }
  void set_now(int64_t now_ms);

  // Claims that wait, for fair shares: nobody is given a share of what nobody in it wants.
  void add_pending(QueueId leaf, const Amounts& ask);
  void drop_pending(QueueId leaf, const Amounts& ask);
  void charge(QueueId leaf, const Amounts& ask, int64_t now_ms);
  void refund(QueueId leaf, const Amounts& ask, int64_t now_ms);

  Admission admit(QueueId leaf, const Amounts& ask) const;
  const Amounts& used(QueueId queue) const { return queues_[queue].used; }
  const Amounts& guaranteed(QueueId queue) const { return queues_[queue].guaranteed; }
  const Amounts& limit(QueueId queue) const { return queues_[queue].limit; }
  // By guarantees, weights, wants and past usage.
  const Amounts& fair_share(QueueId queue);
  // Largest part of the capacity that it has of any resource, in millionths: DRF's dominant share.
  int64_t dominant_share(QueueId queue) const;
  // Whether a claim in `a` goes before one in `b`: at the place where their branches part, the branch that has
  // less of its fair share.
  bool before(QueueId a, QueueId b);

  // With `ask` on top, the queue and all above it stay within their fair shares of what it asks.
  bool may_reclaim(QueueId leaf, const Amounts& ask);
  // `leaf` and the queues above it, up to the branch that it shares with `claimer`, still have their fair shares of
  // what is `wanted` after `loss`, so what is reclaimed is never reclaimed back. `lost` holds what queues (by id)
  // lose already.
  bool may_lose(QueueId leaf, QueueId claimer, const Amounts& wanted, const Amounts& loss,
                const std::vector<Amounts>& lost);

  size_t size() const { return queues_.size(); }  // ids are below it
  bool exists(QueueId queue) const { return queue < queues_.size() && queues_[queue].present; }
  QueueId parent(QueueId queue) const { return queues_[queue].parent; }

 private:
  struct Queue {
    QueueSpec spec;
    bool present = false;
    QueueId parent = kNoQueue;
    uint32_t depth = 0;
    std::vector<QueueId> children;  // in order of id
    Amounts guaranteed{}, limit{}, used{}, pending{};
    Amounts request{};  // min(limit, used + pending of leaves below, each within its limits)
    Amounts fair{};
    uint64_t filled = 0;  // epoch in which the children's fair shares were computed
    DecayedAverage usage;
  };

  Result<Queue> checked(const QueueSpec& spec, QueueId id, QueueId parent);
  void apply(QueueId leaf, const Amounts& used, const Amounts& pending, int sign, int64_t now_ms);
  void refresh_request(QueueId queue);
  void fill_children(QueueId queue);
  uint64_t effective_weight(const Queue& queue) const;
  int64_t level(const Queue& queue) const;
  void note_usage(Queue& queue, int64_t now_ms);

  Fairness fairness_;
  std::vector<Queue> queues_;
  std::vector<std::string> resources_;
  Amounts capacity_{};
  int64_t now_ms_ = 0;
  uint64_t epoch_ = 1;  // of everything that fair shares depend on
  int64_t usage_step_ = 0;
};

}  // namespace tweendeck::placement

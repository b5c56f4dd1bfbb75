#include "placement/queue/queues.h"

#include <algorithm>

#include "placement/queue/water_fill.h"

namespace tweendeck::placement {
namespace {

constexpr int64_t kMillionths = 1'000'000;
constexpr std::string_view kModelPrefix = "model:";

}  // namespace

Queues::Queues(const Fairness& fairness) : fairness_(fairness), resources_{"devices", "memory", "compute"} {
  Queue root;
  root.present = true;
  root.limit.fill(kUnlimited);
  queues_.push_back(std::move(root));
}

QueueId Queues::find(std::string_view name) const {
  if (name.empty()) return kRootQueue;
  for (QueueId id = 1; id < queues_.size(); ++id) {
    if (queues_[id].present && queues_[id].spec.name == name) return id;
  }
  return kNoQueue;
}

bool Queues::is_leaf(QueueId queue) const {
  return exists(queue) && queue != kRootQueue && queues_[queue].children.empty();
}

int Queues::find_model(std::string_view model) const {
  for (size_t r = kFirstModel; r < resources_.size(); ++r) {
    if (std::string_view(resources_[r]).substr(kModelPrefix.size()) == model) return static_cast<int>(r);
  }
  return -1;
}

Result<uint8_t> Queues::model_resource(std::string_view model) {
  if (const int known = find_model(model); known >= 0) return static_cast<uint8_t>(known);
  if (resources_.size() == kMaxResources) {
    return fail(Reason::LimitExceeded,
                "queues name more than " + std::to_string(kMaxResources - kFirstModel) + " models",
                "give quotas by devices, memory or compute instead");
  }
  resources_.push_back(std::string(kModelPrefix) + std::string(model));
  return static_cast<uint8_t>(resources_.size() - 1);
}

Result<Queues::Queue> Queues::checked(const QueueSpec& spec, QueueId id, QueueId parent) {
  const std::string what = "queue '" + spec.name + "'";
  if (spec.weight > kMaxQueueWeight) {
    return fail(Reason::InvalidArgument, what + ": weight " + std::to_string(spec.weight) + " is above " +
                                             std::to_string(kMaxQueueWeight));
  }
  Queue queue = id == kNoQueue ? Queue{} : queues_[id];
  queue.spec = spec;
  queue.parent = parent;
  queue.depth = queues_[parent].depth + 1;
  queue.present = true;
  queue.guaranteed.fill(0);
  queue.limit.fill(kUnlimited);
  for (const QuotaRule& rule : spec.rules) {
    const std::string field = what + ", resource '" + rule.resource + "'";
    const auto known = std::ranges::find(resources_, rule.resource);
    auto resource = static_cast<size_t>(known - resources_.begin());
    if (known == resources_.end()) {
      if (!rule.resource.starts_with(kModelPrefix) || rule.resource.size() == kModelPrefix.size()) {
        return fail(Reason::InvalidArgument, field + " is not known",
                    "use devices, memory, compute or model:NAME");
      }
      const Result<uint8_t> given =
          model_resource(std::string_view(rule.resource).substr(kModelPrefix.size()));
      if (!given) return fail(given.error());
      resource = *given;
    }
    if (rule.guaranteed < 0 || rule.limit < rule.guaranteed) {
      return fail(Reason::InvalidArgument, field + ": guaranteed " + std::to_string(rule.guaranteed) +
                                               " must be 0 or more and at most the limit");
    }
    queue.guaranteed[resource] = rule.guaranteed;
    queue.limit[resource] = rule.limit;
  }
  // A guarantee that its parent cannot keep would be none. The root has no amount of its own: machines come and go.
  for (size_t r = 0; r < resources_.size(); ++r) {
    const auto sum = [&](const Queue& of, QueueId except) {
      __int128_t total = 0;
      for (QueueId child : of.children) total += child == except ? 0 : queues_[child].guaranteed[r];
      return total;
    };
    const bool too_much = parent != kRootQueue &&
                          sum(queues_[parent], id) + queue.guaranteed[r] > queues_[parent].guaranteed[r];
    const bool too_little = sum(queue, kNoQueue) > queue.guaranteed[r];
    if (too_much || too_little) {
      return fail(Reason::InvalidArgument,
                  what + ": the guarantees of " + resources_[r] + " below '" +
                      (too_much ? spec.parent : spec.name) + "' add up to more than its own",
                  "raise the guarantee above first, or lower one below");
    }
  }
  return queue;
}

Result<QueueId> Queues::put(const QueueSpec& spec) {
  if (spec.name.empty()) return fail(Reason::InvalidArgument, "a queue has no name");
  const QueueId parent = find(spec.parent);
  if (parent == kNoQueue)
    return fail(Reason::NotFound, "queue '" + spec.name + "': there is no queue '" + spec.parent + "'",
                "create the parent first");
  QueueId id = find(spec.name);
  if (id != kNoQueue && queues_[id].parent != parent) {
    return fail(Reason::InvalidArgument, "queue '" + spec.name + "' cannot move below '" + spec.parent + "'",
                "remove it first");
  }
  if (id == kNoQueue) {
    const Queue& above = queues_[parent];
    const bool holds_claims = parent != kRootQueue && above.children.empty() &&
                              (above.used != Amounts{} || above.pending != Amounts{});
    if (holds_claims) {
      return fail(Reason::InvalidArgument,
                  "queue '" + spec.parent + "' holds claims, so nothing can be below it",
                  "move its claims to a queue of their own");
    }
    if (above.depth + 1 > kMaxQueueDepth) {
      return fail(Reason::LimitExceeded,
                  "queue '" + spec.name + "' would be deeper than " + std::to_string(kMaxQueueDepth));
    }
  }
  Result<Queue> queue = checked(spec, id, parent);
  if (!queue) return fail(queue.error());
  if (id == kNoQueue) {
    id = 1;
    while (id < queues_.size() && queues_[id].present) ++id;
    if (id > kMaxQueues)
      return fail(Reason::LimitExceeded, "there are " + std::to_string(kMaxQueues) + " queues already");
    if (id == queues_.size()) queues_.emplace_back();
    auto& children = queues_[parent].children;
    children.insert(std::ranges::lower_bound(children, id), id);
    queue->usage = {};
    queue->usage.advance(now_ms_, 0, 1);
  }
  queues_[id] = std::move(*queue);
  refresh_request(id);
  ++epoch_;
  return id;
}

Status Queues::remove(std::string_view name) {
  const QueueId id = find(name);
  if (id == kNoQueue || id == kRootQueue)
    return fail(Reason::NotFound, "there is no queue '" + std::string(name) + "'");
  Queue& queue = queues_[id];
  if (!queue.children.empty() || queue.used != Amounts{} || queue.pending != Amounts{}) {
    return fail(Reason::InvalidArgument, "queue '" + std::string(name) + "' has queues or claims",
                "remove those first");
  }
  std::erase(queues_[queue.parent].children, id);
  queue = Queue{};
  ++epoch_;
  return {};
}

Admission Queues::admit(QueueId leaf, const Amounts& ask) const {
  Admission admission;
  for (QueueId id = leaf; id != kRootQueue; id = queues_[id].parent) {
    const Queue& queue = queues_[id];
    for (size_t r = 0; r < resources_.size(); ++r) {
      if (ask[r] == 0) continue;
      QuotaTier tier = QuotaTier::Guaranteed;
      int64_t lack = 0;
      if (ask[r] > queue.limit[r]) {
        tier = QuotaTier::Never;
        lack = ask[r] - queue.limit[r];
      } else if (queue.used[r] > queue.limit[r] - ask[r]) {
        tier = QuotaTier::Waiting;
        lack = queue.used[r] - (queue.limit[r] - ask[r]);
      } else if (id == leaf && queue.used[r] > queue.guaranteed[r] - ask[r]) {
        tier = QuotaTier::Borrowing;
      }
      if (tier <= admission.tier) continue;
      admission.tier = tier;
      if (tier == QuotaTier::Borrowing) continue;
      admission.reason = tier == QuotaTier::Never ? Reason::ExceedsQueueLimit : Reason::QueueAtLimit;
      admission.queue = id;
      admission.resource = static_cast<uint8_t>(r);
      admission.lack = lack;
    }
  }
  return admission;
}

int64_t Queues::dominant_share(QueueId queue) const {
  int64_t share = 0;
  for (size_t r = 0; r < resources_.size(); ++r) {
    if (capacity_[r] <= 0) continue;
    const __int128_t part = static_cast<__int128_t>(queues_[queue].used[r]) * kMillionths / capacity_[r];
    share = std::max(share, static_cast<int64_t>(std::min<__int128_t>(part, INT64_MAX)));
  }
  return share;
}

bool Queues::before(QueueId a, QueueId b) {
  if (a == b) return false;
  while (queues_[a].depth > queues_[b].depth) a = queues_[a].parent;
  while (queues_[b].depth > queues_[a].depth) b = queues_[b].parent;
  while (queues_[a].parent != queues_[b].parent) {
    a = queues_[a].parent;
    b = queues_[b].parent;
  }
  if (a == b) return false;
  // Of its dominant resource, how much of its fair share it has.
  const auto fullness = [this](QueueId id) {
    const Amounts& fair = fair_share(id);
    __int128_t most = 0;
    for (size_t r = 0; r < resources_.size(); ++r) {
      const __int128_t part =
          static_cast<__int128_t>(queues_[id].used[r]) * kMillionths / std::max<int64_t>(fair[r], 1);
      most = std::max(most, part);
    }
    return most;
  };
  const __int128_t of_a = fullness(a), of_b = fullness(b);
  return of_a != of_b ? of_a < of_b : a < b;
}

}  // namespace tweendeck::placement

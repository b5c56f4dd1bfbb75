// What changes with every claim: usage, wants, and the fair shares that follow from them.
#include <algorithm>

#include "placement/queue/queues.h"
#include "placement/queue/water_fill.h"

namespace tweendeck::placement {
namespace {

constexpr int64_t kUsageSteps = 64;        // per half-life: how often past usage changes weights
constexpr uint64_t kWeightScale = 10'000;  // room for usage to lower a weight of 1
static_assert(kWeightScale * kMaxQueueWeight <= kMaxWeight);

int64_t saturating_add(int64_t a, int64_t b) {
  return a > kUnlimited - b ? kUnlimited : a + b;
}

}  // namespace

int64_t Queues::level(const Queue& queue) const {
  int64_t most = 0;
  for (size_t r = 0; r < resources_.size(); ++r) {
    if (capacity_[r] <= 0) continue;
    const __int128_t part = static_cast<__int128_t>(queue.used[r]) * kFixedOne / capacity_[r];
    most = std::max(most, static_cast<int64_t>(std::min<__int128_t>(part, kFixedOne)));
  }
  return most;
}

void Queues::note_usage(Queue& queue, int64_t now_ms) {
  if (fairness_.half_life_ms > 0) queue.usage.advance(now_ms, level(queue), fairness_.half_life_ms);
}

void Queues::set_capacity(const Amounts& capacity, int64_t now_ms) {
  set_now(now_ms);
  if (capacity == capacity_) return;
  for (Queue& queue : queues_) {
    if (queue.present) note_usage(queue, now_ms_);
  }
  capacity_ = capacity;
  ++epoch_;
}

void Queues::set_now(int64_t now_ms) {
  now_ms_ = std::max(now_ms_, now_ms);
  if (fairness_.half_life_ms <= 0) return;
  const int64_t step = now_ms_ / std::max<int64_t>(fairness_.half_life_ms / kUsageSteps, 1);
  if (step == usage_step_) return;
  usage_step_ = step;
  ++epoch_;
}

void Queues::refresh_request(QueueId id) {
  while (id != kNoQueue) {
    Queue& queue = queues_[id];
    Amounts request{};
    if (queue.children.empty()) {
      for (size_t r = 0; r < kMaxResources; ++r) request[r] = queue.used[r] + queue.pending[r];
    } else {
      for (QueueId child : queue.children) {
        for (size_t r = 0; r < kMaxResources; ++r) {
          request[r] = saturating_add(request[r], queues_[child].request[r]);
        }
      }
    }
    for (size_t r = 0; r < kMaxResources; ++r) request[r] = std::min(request[r], queue.limit[r]);
    queue.request = request;
    id = id == kRootQueue ? kNoQueue : queue.parent;
  }
}

void Queues::apply(QueueId leaf, const Amounts& used, const Amounts& pending, int sign, int64_t now_ms) {
  set_now(now_ms);
  Amounts delta{};  // of the request of the queue below
  for (QueueId id = leaf;; id = queues_[id].parent) {
    Queue& queue = queues_[id];
    note_usage(queue, now_ms_);
    for (size_t r = 0; r < resources_.size(); ++r) {
      queue.used[r] += sign * used[r];
      queue.pending[r] += sign * pending[r];
    }
    const Amounts old = queue.request;
    for (size_t r = 0; r < resources_.size(); ++r) {
      // Above a limit the sum of the children's requests is not kept, so it is taken anew.
      int64_t sum = 0;
      if (id == leaf) {
        sum = queue.used[r] + queue.pending[r];
      } else if (old[r] < queue.limit[r]) {
        sum = old[r] + delta[r];
      } else if (delta[r] != 0) {
        for (QueueId child : queue.children) sum = saturating_add(sum, queues_[child].request[r]);
      } else {
        sum = old[r];
      }
      queue.request[r] = std::min(sum, queue.limit[r]);
      delta[r] = queue.request[r] - old[r];
    }
    if (id == kRootQueue) break;
  }
  ++epoch_;
}

void Queues::add_pending(QueueId leaf, const Amounts& ask) {
  apply(leaf, {}, ask, 1, now_ms_);
}
void Queues::drop_pending(QueueId leaf, const Amounts& ask) {
  apply(leaf, {}, ask, -1, now_ms_);
}
void Queues::charge(QueueId leaf, const Amounts& ask, int64_t now_ms) {
  apply(leaf, ask, {}, 1, now_ms);
}
void Queues::refund(QueueId leaf, const Amounts& ask, int64_t now_ms) {
  apply(leaf, ask, {}, -1, now_ms);
}

// weight / (1 + k * usage): with k = 1 who had the whole cluster for long weighs half.
uint64_t Queues::effective_weight(const Queue& queue) const {
  const uint64_t scaled = static_cast<uint64_t>(queue.spec.weight) * kWeightScale;
  if (fairness_.half_life_ms <= 0 || fairness_.usage_weight == 0 || scaled == 0) return scaled;
  const auto usage = static_cast<uint64_t>(
      std::max<int64_t>(queue.usage.at(now_ms_, level(queue), fairness_.half_life_ms), 0));
  const auto one = static_cast<__uint128_t>(kFixedOne) * 1000;
  const __uint128_t divisor = one + static_cast<__uint128_t>(usage) * fairness_.usage_weight;
  return std::max<uint64_t>(static_cast<uint64_t>(scaled * one / divisor), 1);
}

void Queues::fill_children(QueueId id) {
  Queue& queue = queues_[id];
  if (queue.filled == epoch_) return;
  queue.filled = epoch_;
  std::vector<Want> wants(queue.children.size());
  std::vector<int64_t> parts(wants.size());
  for (size_t c = 0; c < wants.size(); ++c) wants[c].weight = effective_weight(queues_[queue.children[c]]);
  for (size_t r = 0; r < resources_.size(); ++r) {
    for (size_t c = 0; c < wants.size(); ++c) {
      const Queue& child = queues_[queue.children[c]];
      wants[c].guaranteed = child.guaranteed[r];
      wants[c].request = child.request[r];
    }
    water_fill(queue.fair[r], wants, parts);
    for (size_t c = 0; c < wants.size(); ++c) queues_[queue.children[c]].fair[r] = parts[c];
  }
}

const Amounts& Queues::fair_share(QueueId queue) {
  std::array<QueueId, kMaxQueueDepth + 1> path{};
  size_t length = 0;
  for (QueueId id = queue; id != kRootQueue; id = queues_[id].parent) path[length++] = id;
  queues_[kRootQueue].fair = capacity_;
  fill_children(kRootQueue);
  while (length > 1) fill_children(path[--length]);
  return queues_[queue].fair;
}

bool Queues::may_reclaim(QueueId leaf, const Amounts& ask) {
  fair_share(leaf);
  for (QueueId id = leaf; id != kRootQueue; id = queues_[id].parent) {
    const Queue& queue = queues_[id];
    for (size_t r = 0; r < resources_.size(); ++r) {
      if (ask[r] > 0 && queue.used[r] + ask[r] > queue.fair[r]) return false;
    }
  }
  return true;
}

bool Queues::may_lose(QueueId leaf, QueueId claimer, const Amounts& wanted, const Amounts& loss,
                      const std::vector<Amounts>& lost) {
  fair_share(leaf);
  // Up to the branch that both share: what happens inside it does not change its own usage for others.
  QueueId common = claimer, mine = leaf;
  while (queues_[common].depth > queues_[mine].depth) common = queues_[common].parent;
  while (queues_[mine].depth > queues_[common].depth) mine = queues_[mine].parent;
  while (mine != common) {
    mine = queues_[mine].parent;
    common = queues_[common].parent;
  }
  for (QueueId id = leaf; id != common; id = queues_[id].parent) {
    const Queue& queue = queues_[id];
    for (size_t r = 0; r < resources_.size(); ++r) {
      if (wanted[r] == 0 || loss[r] == 0) continue;
      const int64_t after = queue.used[r] - (id < lost.size() ? lost[id][r] : 0) - loss[r];
      if (after < queue.fair[r]) return false;
    }
  }
  return leaf != common;
}

}  // namespace tweendeck::placement

#include "sim/reference_scheduler.h"

#include <map>
#include <tuple>
#include <vector>

#include "sim/replay/score_cache.h"

namespace tweendeck::sim {

namespace {

// What the schedulers of one policy and pod list share.
struct Reference {
  explicit Reference(const PodList& list) : pods(list) {}
  const PodList& pods;
  std::unique_ptr<Policy> policy;
  std::unique_ptr<ScoreCache> scores;
  std::vector<uint32_t> ask_of_row;
};

class ReferenceScheduler final : public Scheduler {
 public:
  ReferenceScheduler(Reference& reference, const Book& book, std::span<const uint32_t> ranks)
      : reference_(reference),
        book_(book),
        rank_of_(ranks.begin(), ranks.end()),
        node_at_(ranks.size()),
        slots_(ranks.size()) {
    for (uint32_t node = 0; node < ranks.size(); ++node) node_at_[ranks[node]] = node;
    for (uint32_t node = 0; node < ranks.size(); ++node) read(node);
  }

  void arrived(uint32_t) override {}
  void ended(uint32_t) override {}

  std::optional<Placed> place(uint64_t, uint32_t pod) override {
    ScoreCache& scores = *reference_.scores;
    const uint32_t ask = reference_.ask_of_row[pod];
    const int64_t memory_mib = reference_.pods.pods[pod].memory_mib;
    Score best;
    size_t best_rank = 0;
    for (size_t rank = 0; rank < slots_.size(); ++rank) {
      if (slots_[rank].memory_mib < memory_mib) continue;
      Score score = scores.get(slots_[rank].state, ask);
      if (score.value > best.value) {
        best = score;
        best_rank = rank;
      }
    }
    if (best.value < 0) return std::nullopt;
    const uint32_t node = node_at_[best_rank];
    return Placed{node, gpus_taken(book_.node(node), scores.asks()[ask], best.gpu)};
  }

  void released(uint64_t) override {}  // the Book says all

  void changed(uint32_t node) override {
    if (reference_.scores->full()) {
      reference_.scores->clear();
      for (uint32_t at = 0; at < node_at_.size(); ++at) read(at);
    }
    read(node);
  }

 private:
  static constexpr int64_t kDown = -1;  // less than any pod wants
  struct Slot {
    uint32_t state = 0;
    int64_t memory_mib = 0;
  };

  void read(uint32_t node) {
    slots_[rank_of_[node]] = {reference_.scores->intern(book_.node(node)),
                              book_.is_up(node) ? book_.memory_mib(node) : kDown};
  }

  Reference& reference_;
  const Book& book_;
  std::vector<uint32_t> rank_of_;
  std::vector<uint32_t> node_at_;  // by rank
  std::vector<Slot> slots_;        // by rank
};

class ReferenceMaker final : public SchedulerMaker {
 public:
  explicit ReferenceMaker(std::unique_ptr<Reference> reference) : reference_(std::move(reference)) {}
  Result<std::unique_ptr<Scheduler>> start(const Book& book, std::span<const uint32_t> ranks) override {
    if (reference_->scores->full()) reference_->scores->clear();
    return std::make_unique<ReferenceScheduler>(*reference_, book, ranks);
  }

 private:
  std::unique_ptr<Reference> reference_;
};

}  // namespace

Result<std::unique_ptr<SchedulerMaker>> make_reference(std::string_view name, const PodList& pods) {
  auto reference = std::make_unique<Reference>(pods);
  Result<std::unique_ptr<Policy>> policy = make_policy(name, typical_pods(pods));
  if (!policy) return fail(policy.error());
  reference->policy = std::move(*policy);
  std::map<std::tuple<int32_t, uint8_t, int16_t, uint32_t>, uint32_t> ids;
  std::vector<Ask> asks;
  for (const TracePod& pod : pods.pods) {
    Ask ask = ask_of(pod);
    auto [at, is_new] = ids.try_emplace({ask.cpu_milli, ask.gpus, ask.gpu_milli, ask.models},
                                        static_cast<uint32_t>(asks.size()));
    if (is_new) asks.push_back(ask);
    reference->ask_of_row.push_back(at->second);
  }
  reference->scores = std::make_unique<ScoreCache>(*reference->policy, std::move(asks));
  return std::make_unique<ReferenceMaker>(std::move(reference));
}

}  // namespace tweendeck::sim

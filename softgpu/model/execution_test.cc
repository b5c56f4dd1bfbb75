// The three execution modes: what each promises, and random histories against a slow reference model that
// takes one tick at a time and knows nothing of events, lists or transactions.
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <random>
#include <set>

#include "softgpu/model/testing.h"

namespace tweendeck::softgpu {
namespace {

using testing::attach;
using testing::CardFile;
using testing::kMs;

struct Cards {
  explicit Cards(const std::string& execution, uint64_t slice_ns = 0, const std::string& cards = "1:A10@16")
      : file({.cards = cards, .execution = execution, .slice_ns = slice_ns, .virtual_clock = true}),
        model(file.open()) {}
  CardFile file;
  std::unique_ptr<Model> model;
};

std::vector<std::unique_ptr<Client>> attach_many(Model& model, uint32_t count) {
  std::vector<std::unique_ptr<Client>> clients;
  for (uint32_t i = 0; i < count; ++i) {
    clients.push_back(attach(model, i));
    clients.back()->add_context(0);
  }
  return clients;
}

// Moves virtual time on.
void go_to(Model& model, uint64_t at) {
  {
    Locked locked(model.shared());
    model.shared().header().virtual_now_ns.store(at);
  }
  (void)model.usage(0);
}

uint64_t busy_of(Model& model, const Client& client) {
  for (const ProcessUsage& process : model.usage(0).processes) {
    if (process.slot == client.slot()) return process.busy_ns;
  }
  return 0;
}

TEST(TimeSliced, ProcessesTakeTurnsAndKernelsArePreempted) {
  Cards cards("time-sliced");
  auto clients = attach_many(*cards.model, 2);
  const uint64_t long_kernel = clients[0]->submit(0, {.duration_ns = 10 * kMs});
  const uint64_t short_kernel = clients[1]->submit(0, {.duration_ns = kMs});
  const uint64_t next_kernel = clients[1]->submit(0, {.duration_ns = 3 * kMs});
  go_to(*cards.model, 100 * kMs);
  EXPECT_EQ(clients[1]->end_of(0, short_kernel), 3 * kMs);  // behind one slice of 2 ms
  // The other's turns: 2-4 (1 ms and half of the next kernel's 2), 6-8; the long one has 0-2, 4-6, 8-14.
  EXPECT_EQ(clients[1]->end_of(0, next_kernel), 8 * kMs);
  EXPECT_EQ(clients[0]->end_of(0, long_kernel), 14 * kMs);
  EXPECT_EQ(busy_of(*cards.model, *clients[0]), 10 * kMs);
  EXPECT_EQ(busy_of(*cards.model, *clients[1]), 4 * kMs);
  EXPECT_EQ(cards.model->usage(0).busy_ns, 14 * kMs);
}

TEST(TimeSliced, TheOnlyProcessWithWorkHasTheWholeCard) {
  Cards cards("time-sliced", 5 * kMs);
  auto clients = attach_many(*cards.model, 2);
  const uint64_t ticket = clients[1]->submit(0, {.duration_ns = 100 * kMs});
  go_to(*cards.model, 52 * kMs);
  const uint64_t late = clients[0]->submit(0, {.duration_ns = kMs});
  go_to(*cards.model, 200 * kMs);
  EXPECT_EQ(clients[0]->end_of(0, late), 56 * kMs);  // from the end of the slice that began at 50
  EXPECT_EQ(clients[1]->end_of(0, ticket), 101 * kMs);
}

TEST(Overlapping, KernelsRunAtOnceWhileSmsAreFree) {
  Cards cards("overlapping");
  auto clients = attach_many(*cards.model, 3);
  const uint64_t half = clients[0]->submit(0, {.duration_ns = 4 * kMs, .sms = 8});
  const uint64_t other_half = clients[1]->submit(0, {.duration_ns = 6 * kMs, .sms = 8});
  const uint64_t whole = clients[2]->submit(0, {.duration_ns = kMs});
  const uint64_t behind = clients[0]->submit(0, {.duration_ns = kMs, .sms = 1});
  go_to(*cards.model, 100 * kMs);
  EXPECT_EQ(clients[0]->end_of(0, half), 4 * kMs);
  EXPECT_EQ(clients[1]->end_of(0, other_half), 6 * kMs);
  EXPECT_EQ(clients[2]->end_of(0, whole), 7 * kMs);
  EXPECT_EQ(clients[0]->end_of(0, behind), 8 * kMs);  // SMs were free, but an older kernel waits for them
  EXPECT_EQ(busy_of(*cards.model, *clients[0]), 5 * kMs);
  EXPECT_EQ(busy_of(*cards.model, *clients[1]), 6 * kMs);
  EXPECT_EQ(cards.model->usage(0).busy_ns, 8 * kMs);  // the union
}

TEST(Overlapping, StreamsOfOneProcessOverlapAndItsBusyTimeIsTheirUnion) {
  Cards cards("overlapping");
  auto clients = attach_many(*cards.model, 1);
  Client& client = *clients[0];
  const uint64_t first = client.submit(0, {.duration_ns = 4 * kMs, .sms = 4, .stream = 1});
  const uint64_t second = client.submit(0, {.duration_ns = 6 * kMs, .sms = 4, .stream = 2});
  const uint64_t same_stream = client.submit(0, {.duration_ns = kMs, .sms = 4, .stream = 1});
  const uint64_t join = client.submit(0, {.stream = 3, .after = second});
  const uint64_t joined = client.submit(0, {.duration_ns = kMs, .sms = 4, .stream = 3});
  go_to(*cards.model, 100 * kMs);
  EXPECT_EQ(client.end_of(0, first), 4 * kMs);
  EXPECT_EQ(client.end_of(0, same_stream), 5 * kMs);
  EXPECT_EQ(client.end_of(0, join), 6 * kMs);
  EXPECT_EQ(client.end_of(0, joined), 7 * kMs);
  EXPECT_EQ(busy_of(*cards.model, client), 7 * kMs);
}

TEST(Execution, OnRealTimeTheModesHold) {
  for (const char* execution : {"time-sliced", "overlapping"}) {
    CardFile file({.cards = "1:A10@16", .execution = execution});
    auto model = file.open();
    auto clients = attach_many(*model, 2);
    const uint64_t begin = model->now();
    const uint64_t slow = clients[0]->submit(0, {.duration_ns = 30 * kMs, .sms = 8});
    const uint64_t quick = clients[1]->submit(0, {.duration_ns = 5 * kMs, .sms = 8});
    clients[1]->wait_done(0, quick);
    EXPECT_FALSE(model->now() < begin + 25 * kMs && clients[0]->is_done(0, slow)) << execution;
    clients[0]->wait_done(0, slow);
    EXPECT_LT(*clients[1]->end_of(0, quick), *clients[0]->end_of(0, slow)) << execution;
    const bool sliced = std::string(execution) == "time-sliced";
    EXPECT_EQ(model->usage(0).busy_ns, (sliced ? 35 : 30) * kMs);
    EXPECT_GE(model->now() - begin, (sliced ? 35 : 30) * kMs);
  }
}

// ---- random histories ----

constexpr uint32_t kClients = 4;
constexpr uint64_t kTicks = 600;
constexpr uint64_t kSliceTicks = 7;
constexpr uint32_t kSms = 16;

struct Submission {
  uint64_t at;
  uint32_t client;
  Work work;
  size_t after;  // index + 1 of the submission that it waits for; 0 = none
};

struct Outcome {
  std::vector<uint64_t> ends;
  std::map<uint32_t, uint64_t> busy;  // by client
  uint64_t card_busy = 0;
  bool operator==(const Outcome&) const = default;
};

std::vector<Submission> random_history(std::mt19937_64& random, bool load_is_high) {
  std::vector<Submission> history;
  auto below = [&](uint64_t bound) { return random() % bound; };
  for (uint64_t tick = 0; tick < kTicks / 2; ++tick) {
    while (below(10) < (load_is_high ? 4u : 1u)) {
      Submission s{.at = tick, .client = static_cast<uint32_t>(below(kClients)), .work = {}, .after = 0};
      s.work.duration_ns = below(6) == 0 ? below(40) : below(6);
      s.work.sms = static_cast<uint32_t>(below(kSms + 1));
      s.work.stream = below(3);
      if (below(12) == 0) s.work.not_before_ns = tick + below(15);
      if (below(8) == 0 && !history.empty()) s.after = below(history.size()) + 1;
      history.push_back(s);
    }
  }
  return history;
}

// One tick at a time, everything looked at anew. Work that takes no time ends at the tick at which it starts.
class Reference {
 public:
  Reference(const std::vector<Submission>& history, Execution execution)
      : history_(history), execution_(execution), ends_(history.size(), UINT64_MAX) {
    for (const Submission& s : history) remaining_.push_back(s.work.duration_ns);
  }

  Outcome run() {
    Outcome outcome;
    for (now_ = 0; now_ < 100 * kTicks && !all_ended(); ++now_) {
      settle();
      for (; submitted_ < history_.size() && history_[submitted_].at == now_; settle()) ++submitted_;
      std::set<uint32_t> busy;
      for (const size_t i : running_) {
        --remaining_[i];
        busy.insert(history_[i].client);
      }
      for (const uint32_t client : busy) ++outcome.busy[client];
      outcome.card_busy += !busy.empty();
    }
    outcome.ends = ends_;
    return outcome;
  }

 private:
  void settle() {
    while (end_finished() || rotate() || start_one()) {
    }
  }
  bool all_ended() const { return std::ranges::count(ends_, UINT64_MAX) == 0; }
  uint32_t sms(size_t i) const {
    const Work& work = history_[i].work;
    return work.duration_ns == 0 ? 0 : work.sms == 0 ? kSms : work.sms;
  }
  bool same_queue(size_t a, size_t b) const {
    if (execution_ == Execution::Fifo) return true;
    if (history_[a].client != history_[b].client) return false;
    return execution_ == Execution::TimeSliced || history_[a].work.stream == history_[b].work.stream;
  }
  bool is_ready(size_t i) const {
    if (i >= submitted_ || ends_[i] != UINT64_MAX || running_.contains(i)) return false;
    for (size_t j = 0; j < i; ++j) {
      if (ends_[j] == UINT64_MAX && same_queue(i, j)) return false;
    }
    if (history_[i].after != 0 && ends_[history_[i].after - 1] == UINT64_MAX) return false;
    return history_[i].work.not_before_ns <= now_;
  }
  std::optional<size_t> first_ready(std::optional<uint32_t> client = {}) const {
    for (size_t i = 0; i < submitted_; ++i) {
      if (is_ready(i) && (!client || history_[i].client == *client)) return i;
    }
    return std::nullopt;
  }
  std::optional<uint32_t> next_client() const {  // after the one whose turn it is, itself last
    for (uint32_t step = 1; step <= kClients; ++step) {
      if (first_ready((turn_ + step) % kClients)) return (turn_ + step) % kClients;
    }
    return std::nullopt;
  }
  bool end_finished() {
    for (const size_t i : running_) {
      if (remaining_[i] > 0) continue;
      ends_[i] = now_;
      running_.erase(i);
      return true;
    }
    return false;
  }
  bool rotate() {
    if (execution_ != Execution::TimeSliced || running_.empty() || now_ < slice_end_) return false;
    const auto next = next_client();
    if (next && *next != turn_) {
      running_.clear();
    } else {
      slice_end_ = now_ + kSliceTicks;
    }
    return true;
  }
  bool start_one() {
    std::optional<size_t> next;
    if (execution_ == Execution::Overlapping) {
      next = first_ready();
      uint32_t used = 0;
      for (const size_t i : running_) used += sms(i);
      if (next && used + sms(*next) > kSms) return false;
    } else if (!running_.empty()) {
      return false;
    } else if (execution_ == Execution::Fifo) {
      next = first_ready();
    } else {
      if (now_ >= slice_end_ || !first_ready(turn_)) {
        const auto client = next_client();
        if (!client) return false;
        turn_ = *client;
        slice_end_ = now_ + kSliceTicks;
      }
      next = first_ready(turn_);
    }
    if (!next) return false;
    running_.insert(*next);
    return true;
  }

  const std::vector<Submission>& history_;
  const Execution execution_;
  std::vector<uint64_t> ends_;
  std::vector<uint64_t> remaining_;
  std::set<size_t> running_;
  size_t submitted_ = 0;
  uint64_t now_ = 0;
  uint64_t slice_end_ = 0;
  uint32_t turn_ = 0;
};

// The same history on the model, which is looked at (and so brought up to date) only now and then.
Outcome run_on_model(const std::vector<Submission>& history, const std::string& execution,
                     std::mt19937_64& random) {
  Cards cards(execution, kSliceTicks);
  auto clients = attach_many(*cards.model, kClients);
  std::vector<uint64_t> tickets;
  for (const Submission& s : history) {
    while (cards.model->now() < s.at) {
      go_to(*cards.model, std::min(s.at, cards.model->now() + 1 + random() % 20));
    }
    Work work = s.work;
    if (s.after != 0) work.after = tickets[s.after - 1];
    tickets.push_back(clients[s.client]->submit(0, work));
  }
  go_to(*cards.model, 100 * kTicks);
  Outcome outcome;
  for (const uint64_t ticket : tickets) outcome.ends.push_back(clients[0]->end_of(0, ticket).value_or(0));
  for (uint32_t i = 0; i < kClients; ++i) {
    if (const uint64_t busy = busy_of(*cards.model, *clients[i])) outcome.busy[i] = busy;
  }
  outcome.card_busy = cards.model->usage(0).busy_ns;
  return outcome;
}

TEST(Execution, RandomHistoriesAreThoseOfTheReference) {
  constexpr int kRounds = 60;
  const std::pair<const char*, Execution> modes[] = {{"fifo", Execution::Fifo},
                                                     {"time-sliced", Execution::TimeSliced},
                                                     {"overlapping", Execution::Overlapping}};
  for (const auto& [name, execution] : modes) {
    for (int round = 0; round < kRounds; ++round) {
      SCOPED_TRACE(std::string(name) + ", round " + std::to_string(round));
      std::mt19937_64 random(static_cast<uint64_t>(round) + 1);
      const auto history = random_history(random, round % 2 == 0);
      const Outcome expected = Reference(history, execution).run();
      const Outcome got = run_on_model(history, name, random);
      for (size_t i = 0; i < history.size(); ++i) {
        ASSERT_EQ(got.ends[i], expected.ends[i])
            << "launch " << i << " of client " << history[i].client << " at " << history[i].at;
      }
      ASSERT_EQ(got.busy, expected.busy);
      ASSERT_EQ(got.card_busy, expected.card_busy);
    }
  }
}

// Clients come and go with work queued; what the others have runs as if it had not been there any more.
TEST(Execution, ALeavingProcessTakesItsWorkAlong) {
  for (const char* execution : {"fifo", "time-sliced", "overlapping"}) {
    Cards cards(execution);
    auto clients = attach_many(*cards.model, 3);
    for (int i = 0; i < 5; ++i) clients[1]->submit(0, {.duration_ns = 100 * kMs, .stream = uint64_t(i)});
    const uint64_t behind = clients[2]->submit(0, {.duration_ns = kMs});
    go_to(*cards.model, kMs);
    clients[1]->detach();
    uint64_t end = 0;
    const uint64_t last = clients[2]->submit(0, {.duration_ns = kMs}, &end);
    if (std::string(execution) == "fifo") EXPECT_EQ(end, 3 * kMs);
    go_to(*cards.model, 50 * kMs);
    EXPECT_EQ(clients[2]->end_of(0, behind), 2 * kMs) << execution;
    EXPECT_EQ(clients[2]->end_of(0, last), 3 * kMs) << execution;
    EXPECT_EQ(cards.model->usage(0).busy_ns, 3 * kMs);
    EXPECT_EQ(cards.model->usage(0).queued, 0u);
  }
}

}  // namespace
}  // namespace tweendeck::softgpu

#include "app/bench/runner.h"

#include <algorithm>

namespace tweendeck::bench {
namespace {

constexpr Nanos kStatusInterval = 100 * kMillisecond;
constexpr uint64_t kConversationIds = 1ull << 26;  // block ids of conversations: far from other purposes

// Outcomes are told on one time line that starts with the benchmark.
Outcome outcome_of(const client::ChatAnswer& answer, const std::string& model, Nanos start) {
  Outcome outcome;
  outcome.model = model;
  outcome.replica = answer.replica;
  outcome.ok = answer.status.has_value();
  if (!outcome.ok) {
    outcome.reason = answer.status.error().reason;
    outcome.message = answer.status.error().message;
  }
  outcome.sent = answer.sent - start;
  outcome.first_token = answer.first_token - start;
  outcome.last_token = answer.last_token - start;
  outcome.ended = answer.ended - start;
  outcome.prompt_tokens = answer.usage.prompt_tokens;
  outcome.cached_tokens = answer.usage.cached_tokens;
  outcome.output_tokens = answer.usage.output_tokens;
  return outcome;
}

class Recorder {
 public:
  Recorder(size_t total, Nanos start, const OnStatus& on_status) : start_(start), on_status_(on_status) {
    status_.total = total;
    outcomes_.reserve(total);
  }

  void add(Outcome outcome) {
    ++status_.finished;
    if (!outcome.ok) ++status_.failed;
    outcomes_.push_back(std::move(outcome));
  }
  bool go_on(size_t active) {
    status_.active = active;
    return on_status_(status_);
  }
  Nanos start() const { return start_; }
  size_t finished() const { return status_.finished; }
  std::vector<Outcome> take() { return std::move(outcomes_); }

 private:
  Nanos start_;
  const OnStatus& on_status_;
  RunStatus status_;
  std::vector<Outcome> outcomes_;
};

}  // namespace

Result<std::vector<Outcome>> run_plan(client::ChatClient& client, const Clock& clock,
                                      const std::vector<PlannedRequest>& plan, size_t max_in_flight,
                                      const OnStatus& on_status) {
  Recorder recorder(plan.size(), clock.now(), on_status);
  size_t next = 0;
  while (recorder.finished() < plan.size()) {
    Nanos now = clock.now() - recorder.start();
    while (next < plan.size() && plan[next].at <= now && client.active() < max_in_flight) {
      const PlannedRequest& planned = plan[next++];
      client.start({.model = planned.model,
                    .messages = {{"user", prompt_text(planned.prompt)}},
                    .max_tokens = planned.output_tokens,
                    .temperature = 0,
                    .ignore_eos = true},
                   nullptr, [&recorder, model = planned.model](const client::ChatAnswer& answer) {
                     recorder.add(outcome_of(answer, model, recorder.start()));
                   });
    }
    Nanos pause = kStatusInterval;
    if (next < plan.size() && client.active() < max_in_flight)
      pause = std::clamp<Nanos>(plan[next].at - now, 0, pause);
    if (Status moved = client.wait(pause); !moved) return fail(moved.error());
    if (!recorder.go_on(client.active())) break;
  }
  client.cancel_all();
  return recorder.take();
}

Result<std::vector<Outcome>> run_conversations(client::ChatClient& client, const Clock& clock,
                                               const ConversationOptions& options,
                                               const OnStatus& on_status) {
  Recorder recorder(size_t{options.conversations} * options.turns, clock.now(), on_status);
  std::vector<std::vector<client::ChatMessage>> histories(options.conversations);
  std::vector<uint64_t> computed_tokens(options.conversations, 0);
  uint64_t block = kConversationIds + (options.seed << 16);
  bool stopped = false;
  for (uint32_t turn = 0; turn < options.turns && !stopped; ++turn) {
    uint32_t tokens = turn == 0 ? options.first_tokens : options.turn_tokens;
    uint32_t next = 0;
    while ((next < options.conversations || client.active() > 0) && !stopped) {
      bool wave = client.active() == 0;
      while (wave && next < options.conversations && client.active() < options.max_in_flight) {
        std::vector<client::ChatMessage>& history = histories[next];
        history.push_back({"user", block_text(block++, tokens)});
        std::string model = options.models[next % options.models.size()];
        client.start({.model = model,
                      .messages = history,
                      .max_tokens = options.output_tokens,
                      .temperature = 0,
                      .ignore_eos = true},
                     nullptr,
                     [&recorder, &history, &computed = computed_tokens[next], model,
                      turn](const client::ChatAnswer& answer) {
                       Outcome outcome = outcome_of(answer, model, recorder.start());
                       outcome.turn = turn;
                       outcome.history_tokens = computed;
                       computed = outcome.prompt_tokens + outcome.output_tokens;
                       history.push_back({"assistant", answer.text});
                       recorder.add(std::move(outcome));
                     });
        ++next;
      }
      if (Status moved = client.wait(kStatusInterval); !moved) return fail(moved.error());
      stopped = !recorder.go_on(client.active());
    }
  }
  client.cancel_all();
  return recorder.take();
}

}  // namespace tweendeck::bench

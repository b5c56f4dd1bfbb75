// Carries a benchmark out: sends what is due, never more at once than allowed, and records each outcome.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "app/bench/stats.h"
#include "app/bench/workload.h"
#include "app/client/chat_client.h"

namespace tweendeck::bench {

struct RunStatus {
  size_t finished = 0;
  size_t total = 0;
  size_t active = 0;
  size_t failed = 0;
};
// Called often; returns false to stop early. Requests that are in flight then are aborted and not counted.
using OnStatus = std::function<bool(const RunStatus&)>;

// Open and closed loop alike: a request is sent when it is due and fewer than `max_in_flight` are in flight.
Result<std::vector<Outcome>> run_plan(client::ChatClient& client, const Clock& clock,
                                      const std::vector<PlannedRequest>& plan, size_t max_in_flight,
                                      const OnStatus& on_status);

struct ConversationOptions {
  std::vector<std::string> models = {};
  uint32_t conversations = 0;
  uint32_t turns = 0;
  uint32_t first_tokens = 256;  // of each conversation's first message
  uint32_t turn_tokens = 16;    // of each later one
  uint32_t output_tokens = 32;
  size_t max_in_flight = 1;
  uint64_t seed = 1;  // another seed, other words: nothing of an earlier run is cached
};
// Lockstep: every conversation takes its turn, in order, before the next turn begins, in waves of
// `max_in_flight` that end before the next is sent, so that time to first token tells of prefill and not of
// queueing. Answers go into the history.
Result<std::vector<Outcome>> run_conversations(client::ChatClient& client, const Clock& clock,
                                               const ConversationOptions& options, const OnStatus& on_status);

}  // namespace tweendeck::bench

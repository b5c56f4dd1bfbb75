// What the policies are worth: conversations in lockstep on simulated replicas that serve one request at a
// time, each with an exact prefix cache. The gateway's part (oldest first, offered again after every change)
// is played here.
#include <gtest/gtest.h>

#include <algorithm>
#include <deque>
#include <map>
#include <string>

#include "base/clock.h"
#include "routing/router.h"

namespace tweendeck::routing {
namespace {

struct Workload {
  int conversations = 9;
  int turns = 6;
  int replicas = 2;
  int at_once = 9;            // requests that the clients have open at once
  uint64_t system_bytes = 0;  // the same for all conversations
  uint64_t question_bytes = 400;
  uint64_t output_tokens = 32;
  Nanos prefill_ns = 2 * kMillisecond;  // per token
  Nanos decode_ns = 15 * kMillisecond;
};

struct Outcome {
  uint64_t prefilled = 0;   // tokens of all requests
  uint64_t recomputed = 0;  // of those, tokens that some replica had computed before
  std::vector<Nanos> ttft;  // of follow-up turns
  std::map<std::string, int> served;
  Nanos took = 0;
  Nanos p50() { return std::ranges::sort(ttft), ttft.at(ttft.size() / 2); }
};

std::string words(char who, int turn, char kind, uint64_t bytes) {
  const std::string mark = std::string(1, who) + std::to_string(turn) + kind + ' ';
  std::string text;
  while (text.size() < bytes) text += mark;
  return text.substr(0, bytes);
}

class Lockstep {
 public:
  Lockstep(const Workload& load, Policy policy) : load_(load), router_(config(policy)) {
    for (int i = 1; i <= load.replicas; ++i) {
      Endpoint e;
      e.id = "chat-" + std::to_string(i);
      e.deployment = "chat";
      e.models = {"chat"};
      e.state = EndpointState::Ready;
      e.max_in_flight = 1;
      router_.upsert(e);
    }
  }

  Outcome run() {
    std::vector<std::string> history(static_cast<size_t>(load_.conversations),
                                     std::string(load_.system_bytes, 's'));
    for (turn_ = 0; turn_ < load_.turns; ++turn_) {
      std::deque<size_t> to_send;
      for (size_t c = 0; c < history.size(); ++c) {
        history[c] += words(static_cast<char>('a' + c), turn_, '?', load_.question_bytes);
        to_send.push_back(c);
      }
      for (size_t i = to_send.size(); i > 1; --i) std::swap(to_send[i - 1], to_send[random_.below(i)]);
      run_turn(history, to_send, turn_ > 0);
      for (size_t c = 0; c < history.size(); ++c) {
        history[c] += answer(c);
      }
    }
    EXPECT_EQ(router_.in_flight(), 0u);
    outcome_.took = now_;
    return std::move(outcome_);
  }

 private:
  static RouterConfig config(Policy policy) {
    RouterConfig c;
    c.policy = policy;
    return c;
  }

  std::string answer(size_t conversation) const {
    return words(static_cast<char>('a' + conversation), turn_, '!', load_.output_tokens * kBytesPerToken);
  }

  struct Open {
    size_t conversation;
    Nanos since;
  };
  struct Running {
    Pick pick;
    size_t conversation;
    Nanos first_byte_at;
    Nanos ends_at;
    bool answered = false;
  };

  void run_turn(const std::vector<std::string>& history, std::deque<size_t> to_send, bool follow_up) {
    while (!to_send.empty() || !held_.empty() || !running_.empty()) {
      while (!to_send.empty() && held_.size() + running_.size() < static_cast<size_t>(load_.at_once)) {
        held_.push_back({to_send.front(), now_});
        to_send.pop_front();
      }
      offer_all(history, follow_up);
      ASSERT_FALSE(running_.empty()) << "everything is held and nothing runs";
      advance();
    }
  }

  void offer_all(const std::vector<std::string>& history, bool follow_up) {
    retry_at_ = INT64_MAX;
    for (auto open = held_.begin(); open != held_.end();) {
      const std::string& prompt = history[open->conversation];
      PrefixHasher hasher({}, "chat");
      hasher.update(prompt);
      Request request;
      request.model = "chat";
      request.prefix = hasher.finish();
      request.prompt_tokens = prompt.size() / kBytesPerToken;
      request.max_output_tokens = load_.output_tokens;
      const Pick pick = router_.pick(request, now_);
      if (pick.kind == Pick::Kind::Dispatch) {
        start(pick, *open, prompt, follow_up);
        open = held_.erase(open);
        continue;
      }
      if (pick.retry_at > 0) retry_at_ = std::min(retry_at_, pick.retry_at);
      ++open;
    }
  }

  void start(const Pick& pick, const Open& open, const std::string& prompt, bool follow_up) {
    uint64_t cached = 0, anywhere = 0;
    for (auto& [replica, prompts] : caches_) {
      for (const std::string& known : prompts) {
        const auto [end, unused] = std::ranges::mismatch(known, prompt);
        const auto common = static_cast<uint64_t>(end - known.begin()) / kBytesPerToken;
        anywhere = std::max(anywhere, common);
        if (replica == pick.endpoint_id) cached = std::max(cached, common);
      }
    }
    const uint64_t uncached = prompt.size() / kBytesPerToken - cached;
    outcome_.prefilled += uncached;
    outcome_.recomputed += anywhere - cached;
    ++outcome_.served[pick.endpoint_id];
    const Nanos first = now_ + static_cast<Nanos>(uncached + 4) * load_.prefill_ns;
    running_.push_back(
        {pick, open.conversation, first, first + static_cast<Nanos>(load_.output_tokens) * load_.decode_ns});
    if (follow_up) outcome_.ttft.push_back(first - open.since);
    caches_[pick.endpoint_id].push_back(prompt +
                                        answer(open.conversation));  // what is generated is cached too
  }

  // To the next thing that happens.
  void advance() {
    Nanos next = retry_at_;
    for (const Running& r : running_) next = std::min(next, r.answered ? r.ends_at : r.first_byte_at);
    now_ = std::max(now_, next);
    for (Running& r : running_) {
      if (!r.answered && r.first_byte_at <= now_) {
        router_.first_byte(r.pick.ticket, now_);
        r.answered = true;
      } else if (r.answered && r.ends_at <= now_) {
        router_.finished(r.pick.ticket, true, 0, load_.output_tokens, now_);
        r.pick.ticket = 0;
      }
    }
    std::erase_if(running_, [](const Running& r) { return r.pick.ticket == 0; });
  }

  Workload load_;
  Router router_;
  Random random_{1};
  int turn_ = 0;
  Nanos now_ = kSecond;
  Nanos retry_at_ = INT64_MAX;
  std::deque<Open> held_;
  std::deque<Running> running_;
  std::map<std::string, std::vector<std::string>> caches_;
  Outcome outcome_;
};

// Clients come in another order each turn, and a first part that all share must not keep everybody on one
// replica. Where answers take long against prompts, staying with the cache may cost a
// tenth of the throughput at most.
TEST(Lockstep, AffinityRecomputesLittleAndKeepsBothReplicasBusy) {
  for (int at_once : {2, 9}) {
    for (uint64_t system_bytes : {0, 2000}) {
      for (Nanos decode_ms : {5, 15, 40}) {
        SCOPED_TRACE(std::to_string(at_once) + " open at once, decode " + std::to_string(decode_ms) +
                     " ms, system " + std::to_string(system_bytes));
        Workload load;
        load.at_once = at_once;
        load.system_bytes = system_bytes;
        load.decode_ns = decode_ms * kMillisecond;
        load.question_bytes = 200;
        Outcome affinity = Lockstep(load, Policy::PrefixAffinity).run();
        Outcome rotation = Lockstep(load, Policy::RoundRobin).run();
        const bool prompts_matter = system_bytes == 0 && decode_ms <= 15;
        EXPECT_LE(affinity.recomputed * (prompts_matter ? 4 : 1), rotation.recomputed);
        EXPECT_LE(affinity.took * 100, rotation.took * 110);
        EXPECT_LT(affinity.p50() * 10, rotation.p50() * (at_once == 2 ? 6 : 10));
        EXPECT_GE(std::min(affinity.served["chat-1"], affinity.served["chat-2"]), 54 / 4);
      }
    }
  }
}

}  // namespace
}  // namespace tweendeck::routing

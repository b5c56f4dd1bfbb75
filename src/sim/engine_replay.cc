#include "sim/engine_replay.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "base/units.h"
#include "placement/event_log.h"
#include "placement/policy/make_policy.h"
#include "sim/engine_facts.h"

namespace tweendeck::sim {

using namespace placement;

namespace {

constexpr ClaimId kFirstSupposed = ClaimId{1} << 62;  // numbers that no log has
constexpr std::string_view kClaimWords[] = {
    "queue=", "priority=", "namespace=", "weights=", "budget=", "min-runtime=", "preemptible="};

// When it happened; -1 where the event does not say.
int64_t time_of(const Event& event) {
  return std::visit(
      [](const auto& e) -> int64_t {
        if constexpr (requires { e.time_ms; }) return e.time_ms;
        if constexpr (requires { e.now_ms; }) return e.now_ms;
        if constexpr (requires { e.claim.time_ms; }) return e.claim.time_ms;
        return -1;
      },
      event);
}

}  // namespace

Result<std::unique_ptr<EngineReplay>> EngineReplay::start(const ReplaySettings& settings) {
  Result<std::unique_ptr<placement::Policy>> policy = make_policy({settings.policy, {}});
  if (!policy) return fail(policy.error());
  EngineSettings engine;
  engine.preempt = settings.preempt;
  return std::unique_ptr<EngineReplay>(
      new EngineReplay(std::make_unique<Engine>(std::move(*policy), engine)));
}

Status EngineReplay::apply(const Event& event, const std::string& where) {
  decisions_.clear();
  ++events_;
  Status applied = engine_->apply(event, decisions_);
  std::string refused = applied ? "" : applied.error().message;
  for (const ClaimDecision& decision : decisions_) {
    if (decision.verdict != Verdict::Rejected) continue;
    refused = fmt::format("{}: {} [{}]", name(decision.claim), describe(decision.reason),
                          to_string(decision.reason));
  }
  if (refused.empty()) return {};
  if (refusals_.count++ == 0) refusals_.first = fmt::format("{}: {}", where, refused);
  return applied ? fail(Reason::InvalidArgument, refused, "docs/guides/simulate.md lists the words of a line")
                 : applied;
}

Result<std::unique_ptr<EngineReplay>> EngineReplay::of_log(std::string_view text, const std::string& source,
                                                           const ReplaySettings& settings) {
  Result<std::unique_ptr<EngineReplay>> replay = start(settings);
  if (!replay) return replay;
  size_t number = 0;
  for (std::string_view line : split(text, '\n')) {
    ++number;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (!is_event_line(line)) continue;
    const std::string where = fmt::format("{}:{}", source, number);
    Result<Event> event = parse_event(line);
    if (!event) {
      Error error = event.error();
      error.message = fmt::format("{}: {}", where, error.message);
      return fail(error);
    }
    if (time_of(*event) > settings.until_ms) break;
    static_cast<void>((*replay)->apply(*event, where));  // what is refused is counted
    if (!settings.starts_at_once) continue;
    const std::vector<ClaimDecision> decisions = (*replay)->decisions_;
    for (const ClaimDecision& decision : decisions) {
      if (decision.verdict != Verdict::Placed) continue;
      const BindConfirmed bound{decision.claim, decision.reservation, (*replay)->engine_->now_ms()};
      static_cast<void>((*replay)->apply(bound, where));
    }
  }
  if ((*replay)->events_ == 0) {
    return fail(Reason::InvalidArgument, fmt::format("{} has no event", source),
                "one event per line, like: node name=n1 cpu=8000 device id=gpu0 memory=85899345920");
  }
  return replay;
}

// The trace's events as the engine's.
class EngineReplay::TraceRun {
 public:
  TraceRun(EngineReplay& replay, const Workload& workload, const ReplaySettings& settings)
      : replay_(replay), workload_(workload), settings_(settings) {}

  Status run(const std::vector<TimelineEvent>& events) {
    if (Status ready = prepare(); !ready) return ready;
    for (const TimelineEvent& event : events) {
      if (event.at_ms > settings_.until_ms) break;
      if (Status ended = end_until(event.at_ms); !ended) return ended;
      if (Status done = play(event); !done) return done;
    }
    if (settings_.until_ms < INT64_MAX) {
      if (Status ended = end_until(settings_.until_ms); !ended) return ended;
    }
    for (; !ends_.empty(); ends_.pop()) replay_.ends_.push_back(ends_.top());
    return {};
  }

 private:
  Status prepare() {
    for (const TraceNode& node : workload_.nodes.nodes) {
      if (Status put = apply(NodePut{facts_of(node, workload_.nodes)}); !put) return put;
    }
    for (uint32_t row = 0; row < workload_.pods.pods.size(); ++row) {
      const Event shape = ShapeDefined{row, request_of(workload_.pods.pods[row], workload_.nodes)};
      if (Status defined = apply(shape); !defined) return defined;
    }
    return {};
  }

  Status play(const TimelineEvent& event) {
    now_ms_ = event.at_ms;
    if (event.kind == TimelineEvent::Kind::Arrive) return submit(event.subject, event.lifetime_ms);
    const std::string& node = workload_.nodes.nodes[event.subject].name;
    const bool down = event.kind == TimelineEvent::Kind::NodeDown;
    if (Status closed = apply(NodeCordon{node, down}); !closed) return closed;
    if (!down) return {};
    const NodeIndex index = replay_.engine_->cluster().find_node(node);
    std::vector<ClaimId> lost;
    const ClaimTable& claims = replay_.engine_->claims();
    for (ClaimSlot slot = 0; slot < claims.slots(); ++slot) {
      if (claims[slot].state == ClaimState::Bound && claims[slot].spot.node == index)
        lost.push_back(claims[slot].id);
    }
    std::ranges::sort(lost);
    for (const ClaimId claim : lost) {
      if (Status gone = apply(ClaimWithdrawn{claim, now_ms_}); !gone) return gone;
      const Pod pod = pods_[claim - 1];
      if (Status again = submit(pod.row, pod.lifetime_ms, replay_.names_[claim - 1]); !again) return again;
    }
    return {};
  }

  Status submit(uint32_t row, int64_t lifetime_ms, std::string name = {}) {
    if (name.empty()) {
      name = workload_.pods.pods[row].name;
      if (const uint32_t times = ++arrived_[row]; times > 1) name += fmt::format("#{}", times);
    }
    pods_.push_back({row, lifetime_ms});
    replay_.names_.push_back(name);
    const ClaimId claim = pods_.size();
    replay_.claims_[name] = claim;
    ClaimSubmitted event;
    event.claim = claim;
    event.shape = row;
    event.time_ms = now_ms_;
    return apply(event);
  }

  Status end_until(int64_t ms) {
    while (!ends_.empty() && ends_.top().first <= ms) {
      const auto [end_ms, claim] = ends_.top();
      ends_.pop();
      const std::optional<ClaimStatus> status = replay_.engine_->status(claim);
      if (!status || status->state != ClaimState::Bound) continue;  // its node was lost
      now_ms_ = end_ms;
      if (Status ended = apply(ClaimWithdrawn{claim, end_ms}); !ended) return ended;
    }
    now_ms_ = std::max(now_ms_, ms);
    return {};
  }

  // What is placed starts at once and ends after its lifetime.
  Status apply(const Event& event) {
    if (Status applied = replay_.apply(event, "the trace"); !applied) return applied;
    const std::vector<ClaimDecision> decisions = replay_.decisions_;
    for (const ClaimDecision& decision : decisions) {
      if (decision.verdict != Verdict::Placed) continue;
      if (Status bound = apply(BindConfirmed{decision.claim, decision.reservation, now_ms_}); !bound)
        return bound;
      const int64_t lifetime_ms = pods_[decision.claim - 1].lifetime_ms;
      if (lifetime_ms != kForever) ends_.push({now_ms_ + lifetime_ms, decision.claim});
    }
    return {};
  }

  struct Pod {
    uint32_t row;
    int64_t lifetime_ms;
  };
  using End = std::pair<int64_t, ClaimId>;
  EngineReplay& replay_;
  const Workload& workload_;
  const ReplaySettings& settings_;
  std::vector<Pod> pods_;                           // by claim - 1
  std::unordered_map<uint32_t, uint32_t> arrived_;  // by row: how often
  std::priority_queue<End, std::vector<End>, std::greater<>> ends_;
  int64_t now_ms_ = 0;
};

Result<std::unique_ptr<EngineReplay>> EngineReplay::of_trace(const Workload& workload,
                                                             const std::vector<TimelineEvent>& events,
                                                             const ReplaySettings& settings) {
  Result<std::unique_ptr<EngineReplay>> replay = start(settings);
  if (!replay) return replay;
  if (Status done = TraceRun(**replay, workload, settings).run(events); !done) return fail(done.error());
  return replay;
}

Result<std::vector<ClaimDecision>> EngineReplay::suppose(std::string_view line) {
  constexpr std::string_view kClaim = "claim ";
  std::vector<std::string> lines = {std::string(line)};
  const bool is_claim = line.starts_with(kClaim);
  const auto number = static_cast<uint32_t>(kMaxNumber - 1 - supposed_.size());
  const ClaimId claim = kFirstSupposed + supposed_.size();
  if (is_claim) {
    lines = {fmt::format("shape number={}", number),
             fmt::format("submit claim={} shape={} time={}", claim, number, engine_->now_ms())};
    for (const std::string_view word : split(line.substr(kClaim.size()), ' ')) {
      const bool of_claim =
          std::ranges::any_of(kClaimWords, [&](std::string_view key) { return word.starts_with(key); });
      lines[of_claim ? 1 : 0] += fmt::format(" {}", word);
    }
    supposed_.push_back(claim);
  }
  std::vector<ClaimDecision> all;
  for (const std::string& each : lines) {
    Result<Event> event = parse_event(each);
    if (!event) return fail(event.error());
    if (Status applied = apply(*event, "--what-if"); !applied) return fail(applied.error());
    all.insert(all.end(), decisions_.begin(), decisions_.end());
  }
  return all;
}

Result<ClaimId> EngineReplay::find(const std::string& claim) const {
  if (const auto known = claims_.find(claim); known != claims_.end()) return known->second;
  if (!names_.empty()) {
    return fail(
        Reason::NotFound,
        fmt::format("no pod '{}' came until {}", claim, format_duration(engine_->now_ms() * kMillisecond)),
        "name a pod that arrives; its second arrival is NAME#2");
  }
  Result<uint64_t> number = parse_count(claim, UINT64_MAX, "--why");
  if (!number) return fail(number.error());
  if (!engine_->status(*number)) {
    return fail(Reason::NotFound,
                fmt::format("claim {} neither waits nor runs at {}", *number,
                            format_duration(engine_->now_ms() * kMillisecond)),
                "leave --why out to see which claims wait");
  }
  return *number;
}

std::string EngineReplay::name(ClaimId claim) const {
  if (claim >= kFirstSupposed) return fmt::format("supposed claim {}", claim - kFirstSupposed + 1);
  return claim > 0 && claim <= names_.size() ? names_[claim - 1] : fmt::format("claim {}", claim);
}

Result<ClaimReport> EngineReplay::why(ClaimId claim) {
  return engine_->why(claim, reporter_, {.name = [this](ClaimId of) { return name(of); }, .ends = ends_});
}

}  // namespace tweendeck::sim

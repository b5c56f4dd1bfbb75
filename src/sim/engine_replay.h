// The placement engine itself, fed with an event log or with what happens in a trace, up to a moment; then it can be
// asked why a claim waits, and what would be if something else happened. Virtual time; no clock.
#pragma once

#include <cstdint>
#include <memory>
#include <queue>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "placement/claim_report.h"
#include "placement/engine.h"
#include "sim/dataset.h"
#include "sim/trace/event_log.h"

namespace tweendeck::sim {

struct ReplaySettings {
  std::string policy;            // of the engine
  int64_t until_ms = INT64_MAX;  // what happens later is left out
  bool preempt = false;          // claims without room may have others stopped
  bool starts_at_once = false;   // what a log has placed is bound at once, though it confirms no bind
};

// What the engine did not take.
struct Refusals {
  uint64_t count = 0;
  std::string first;  // where and why
};

class EngineReplay {
 public:
  // A log of the engine's own events (placement/event_log.h). Events that it refuses are counted, as it would.
  // Errors: InvalidArgument with file and line for lines that are no events.
  static Result<std::unique_ptr<EngineReplay>> of_log(std::string_view text, const std::string& source,
                                                      const ReplaySettings& settings);
  // The nodes and pods of a trace and what happens to them. A claim has the name of its pod, from the second one on with
  // "#2". A lost node counts as cordoned; who was on it waits again.
  static Result<std::unique_ptr<EngineReplay>> of_trace(const Workload& workload,
                                                        const std::vector<TimelineEvent>& events,
                                                        const ReplaySettings& settings);

  // Something that did not happen, as a line of an event log; or "claim devices=2 memory=...": a shape and a claim in one,
  // which takes the words of both. What the engine would do then. Errors: as parse_event, and what the engine refuses.
  Result<std::vector<placement::ClaimDecision>> suppose(std::string_view line);
  placement::ClaimId last_supposed() const {
    return supposed_.empty() ? 0 : supposed_.back();
  }  // 0 = no claim was

  // By its name in a trace, or its number in a log.
  Result<placement::ClaimId> find(const std::string& claim) const;
  std::string name(placement::ClaimId claim) const;
  Result<placement::ClaimReport> why(placement::ClaimId claim);

  const placement::Engine& engine() const { return *engine_; }
  uint64_t events() const { return events_; }
  const Refusals& refusals() const { return refusals_; }

 private:
  class TraceRun;
  explicit EngineReplay(std::unique_ptr<placement::Engine> engine) : engine_(std::move(engine)) {}
  static Result<std::unique_ptr<EngineReplay>> start(const ReplaySettings& settings);
  Status apply(const placement::Event& event, const std::string& where);

  std::unique_ptr<placement::Engine> engine_;
  placement::Reporter reporter_;
  std::vector<placement::ClaimDecision> decisions_;  // of the last event
  uint64_t events_ = 0;
  Refusals refusals_;
  std::vector<std::string> names_;  // of a trace: by claim - 1
  std::unordered_map<std::string, placement::ClaimId> claims_;
  std::vector<placement::ClaimId> supposed_;
  std::vector<std::pair<int64_t, placement::ClaimId>> ends_;  // known ones, by time
};

}  // namespace tweendeck::sim

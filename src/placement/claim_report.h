// How a claim of the engine stands, and why it waits: for people as text, for programs as JSON.
//
// A claim that waits has the whole of why/report.h: how many nodes refuse it for which reason, the nearest miss, and what
// would help. What only the engine knows stands beside: its queue and namespace, its gang, who is being stopped for it,
// when it was last tried.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "placement/claim_table.h"
#include "placement/policy/policy.h"
#include "placement/why/report.h"

namespace tweendeck::placement {

// What the one who asks knows besides.
struct WhyContext {
  std::function<std::string(ClaimId)> name;  // of a claim; empty: "claim 17"
  // Claims whose end is known, by time: when the first of them makes room is said. May be empty.
  std::vector<std::pair<int64_t, ClaimId>> ends;
};

struct ClaimReport {
  struct Gang {
    uint64_t id = 0;
    bool started = false;
    uint32_t members = 0;  // that are known
    uint32_t holding = 0;  // of those
    uint32_t needed = 0;   // to start
  };
  std::string name;
  ClaimState state = ClaimState::Pending;
  Reason reason = Reason::None;  // pending: why
  int32_t priority = 0;
  std::string queue;  // "" = none
  std::string space;  // namespace; "" = none
  int64_t now_ms = 0;
  int64_t submitted_ms = 0;
  int64_t tried_ms = 0;         // pending
  int64_t rests_until_ms = -1;  // pending, after a failed bind
  uint16_t failures = 0;        // of binds in a row
  std::vector<Gang> gang;       // none or one
  std::string node;             // if it holds something
  std::vector<std::string> devices;
  std::vector<ScoreTerm> terms;  // of that spot, as of now
  std::vector<Report> room;      // of a claim that waits: one

  std::string text() const;  // several lines
  std::string json() const;  // one object
};

}  // namespace tweendeck::placement

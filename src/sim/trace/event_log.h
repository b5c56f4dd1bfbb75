// An event log: who arrives when and for how long, and which nodes are lost and come back. CSV with a header line:
//
//   time_s,event,name,lifetime_s
//   0,arrive,openb-pod-0012,3600
//   12.5,node-down,openb-node-0001,
//   60,node-up,openb-node-0001,
//
// Times do not go backwards. A name of `arrive` is one of the pod list and may come more than once; an empty lifetime
// is one without end. Pure; the text is any bytes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "sim/trace/cluster_trace.h"

namespace tweendeck::sim {

inline constexpr size_t kMaxLoggedEvents = 100'000'000;
inline constexpr int64_t kForever = -1;  // lifetime

struct TimelineEvent {
  enum class Kind : uint8_t { Arrive, NodeDown, NodeUp };
  int64_t at_ms = 0;
  Kind kind = Kind::Arrive;
  uint32_t subject = 0;  // row of the pod list, or of the node list
  int64_t lifetime_ms = kForever;
  bool operator==(const TimelineEvent&) const = default;
};

// Errors: InvalidArgument with file and line.
Result<std::vector<TimelineEvent>> parse_event_log(std::string_view text, const std::string& source,
                                                   const NodeList& nodes, const PodList& pods);

}  // namespace tweendeck::sim

// Events as text, one per line: what an event log file holds, for replay, tests and people.
//
//   node name=n1 cpu=96000 memory=412316860416 rack=r7 device id=gpu-1 model=H100 memory=85899345920 numa=0
//   shape number=3 cpu=4000 devices=1 compute=500
//   namespace number=0 name=team-a hard key=limits.nvidia.com/gpu value=8
//   submit claim=17 shape=3 queue=0 time=1200 namespace=0
//   adopt claim=18 shape=3 node=n1 device id=gpu-1
//
// A line is a verb, then key=value words; nested things (device, partition, condition, rule, role, hard) begin with their own word and
// belong to what stands before. Fields at their default are left out. In values, bytes that are not printable ASCII and
// space, '=' and '%' are written as %XX. Lines that are empty or begin with '#' are no events. Pure.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "placement/events.h"

namespace tweendeck::placement {

inline constexpr size_t kMaxEventLine = 1u << 20;  // bytes

std::string to_line(const Event& event);  // without a line feed
// parse_event(to_line(e)) is e. Errors: InvalidArgument names the word; LimitExceeded.
Result<Event> parse_event(std::string_view line);
bool is_event_line(std::string_view line);  // neither empty nor a comment

}  // namespace tweendeck::placement

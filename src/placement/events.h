// What happens to a cluster, in the order in which it happened: the only input of the engine. Plain data.
//
// Shapes and queues have numbers that the sender chooses and that mean the same for ever; claims and groups have ids.
// Every event may come twice or late: it then changes nothing and is answered with a reason. Times never run
// backwards: an earlier time counts as the latest one seen.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "placement/cluster/facts.h"
#include "placement/queue/queues.h"

namespace tweendeck::placement {

using ClaimId = uint64_t;
using GroupId = uint64_t;  // 0 = none
inline constexpr uint32_t kNoNumber = UINT32_MAX;
inline constexpr uint32_t kMaxNumber = 1u << 20;  // of shapes and queues

struct NodePut {
  NodeFacts facts;
  bool operator==(const NodePut&) const = default;
};
struct NodeGone {
  std::string node;
  bool operator==(const NodeGone&) const = default;
};
struct NodeCordon {
  std::string node;
  bool cordoned = true;
  bool operator==(const NodeCordon&) const = default;
};
struct DeviceHealth {
  std::string device;
  bool healthy = false;
  bool operator==(const DeviceHealth&) const = default;
};
struct DeviceCordon {
  std::string device;
  bool cordoned = true;
  bool operator==(const DeviceCordon&) const = default;
};
struct ShapeDefined {
  uint32_t shape = 0;
  Request request;
  bool operator==(const ShapeDefined&) const = default;
};
struct QueuePut {
  uint32_t queue = 0;
  QueueSpec spec;
  bool operator==(const QueuePut&) const = default;
};
struct ClaimSubmitted {
  ClaimId claim = 0;
  uint32_t shape = 0;
  uint32_t queue = kNoNumber;  // kNoNumber = no queue: no quota
  int32_t priority = 0;        // higher first
  int64_t time_ms = 0;
  bool operator==(const ClaimSubmitted&) const = default;
};
struct ClaimWithdrawn {  // it ended, or is not wanted any more
  ClaimId claim = 0;
  int64_t time_ms = 0;
  bool operator==(const ClaimWithdrawn&) const = default;
};
struct BindConfirmed {
  ClaimId claim = 0;
  uint64_t reservation = 0;
  int64_t time_ms = 0;
  bool operator==(const BindConfirmed&) const = default;
};
struct BindFailed {
  ClaimId claim = 0;
  uint64_t reservation = 0;
  int64_t time_ms = 0;
  bool operator==(const BindFailed&) const = default;
};
struct Resize {  // on the devices that it has
  ClaimId claim = 0;
  uint32_t shape = 0;
  int64_t time_ms = 0;
  bool operator==(const Resize&) const = default;
};
struct Timer {
  int64_t now_ms = 0;
  bool operator==(const Timer&) const = default;
};

using Event = std::variant<NodePut, NodeGone, NodeCordon, DeviceHealth, DeviceCordon, ShapeDefined, QueuePut,
                           ClaimSubmitted, ClaimWithdrawn, BindConfirmed, BindFailed, Resize, Timer>;

}  // namespace tweendeck::placement

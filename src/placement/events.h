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
#include "placement/gang/gang.h"
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
struct GroupRole {
  uint32_t shape = 0;
  uint32_t min = 1;
  uint32_t max = 1;
  Level within = Level::Cluster;
  bool operator==(const GroupRole&) const = default;
};
// A gang: its members are submitted as claims and placed together or not at all.
struct GroupPut {
  GroupId group = 0;
  std::vector<GroupRole> roles;
  Level required = Level::Cluster;   // all members in one such domain
  Level preferred = Level::Cluster;  // narrower
  uint32_t queue = kNoNumber;
  int32_t priority = 0;
  int64_t time_ms = 0;
  bool operator==(const GroupPut&) const = default;
};
struct GroupGone {  // after its members
  GroupId group = 0;
  bool operator==(const GroupGone&) const = default;
};
struct ClaimSubmitted {
  ClaimId claim = 0;
  uint32_t shape = 0;
  uint32_t queue = kNoNumber;  // kNoNumber = no queue: no quota. Of a group's member the group's counts
  int32_t priority = 0;        // higher first; of a group's member the group's counts
  int64_t time_ms = 0;
  GroupId group = 0;
  uint32_t role = 0;  // of the group; its shape must be the claim's
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

using Event =
    std::variant<NodePut, NodeGone, NodeCordon, DeviceHealth, DeviceCordon, ShapeDefined, QueuePut, GroupPut,
                 GroupGone, ClaimSubmitted, ClaimWithdrawn, BindConfirmed, BindFailed, Resize, Timer>;

}  // namespace tweendeck::placement

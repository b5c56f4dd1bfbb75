// What happens to a cluster, in the order in which it happened: the only input of the engine. Plain data.
//
// Shapes, queues, namespaces and weights have numbers that the sender chooses and that mean the same for ever; claims and groups have ids.
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
#include "placement/preempt/running.h"
#include "placement/queue/queues.h"

namespace tweendeck::placement {

using GroupId = uint64_t;   // 0 = none
using FamilyId = uint64_t;  // 0 = none
inline constexpr uint32_t kNoNumber = UINT32_MAX;
inline constexpr uint32_t kMaxNumber = 1u << 20;               // of shapes, queues, namespaces and weights
inline constexpr int64_t kMaxTimeMs = int64_t{1} << 53;        // later times count as this one: 285,000 years
inline constexpr int64_t kMaxMinRuntimeMs = int64_t{1} << 40;  // 35 years

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
// The quota of a namespace, all of it; queue/namespace_quota.h says what `hard` may hold.
struct NamespacePut {
  uint32_t space = 0;  // its number
  std::string name;
  std::vector<std::pair<std::string, std::string>> hard;
  bool operator==(const NamespacePut&) const = default;
};
// How many claims of a budget may be stopped for others (a PodDisruptionBudget): as many as leave `min_available`
// running and at most `max_unavailable` of those that have not ended without a place. kNoNumber = no such bound. It
// bounds what the engine does, not what befalls claims.
struct BudgetPut {
  BudgetId budget = 0;  // not 0
  uint32_t min_available = 0;
  uint32_t max_unavailable = kNoNumber;
  bool operator==(const BudgetPut&) const = default;
};
// How much of a model's weights lies on a node already, in permille; 0 = nothing any more.
struct WeightsOnNode {
  std::string node;
  uint32_t weights = 0;
  uint32_t permille = 1000;
  bool operator==(const WeightsOnNode&) const = default;
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
  uint32_t space = kNoNumber;  // its namespace
  bool operator==(const GroupPut&) const = default;
};
struct GroupGone {  // after its members
  GroupId group = 0;
  bool operator==(const GroupGone&) const = default;
};
// How claims of one family lie to each other when the next one is placed: on nodes where there is none of them yet, or
// few.
enum class Apart : uint8_t { No, Preferred, Required };

struct ClaimSubmitted {
  ClaimId claim = 0;
  uint32_t shape = 0;
  uint32_t queue = kNoNumber;  // kNoNumber = no queue: no quota. Of a group's member the group's counts
  int32_t priority = 0;        // higher first; of a group's member the group's counts
  int64_t time_ms = 0;
  GroupId group = 0;
  uint32_t role = 0;           // of the group; its shape must be the claim's
  uint32_t space = kNoNumber;  // its namespace; kNoNumber = none. Of a group's member the group's counts
  uint32_t weights =
      kNoNumber;  // that it will load: nodes that have them are preferred. Not of a group's member
  BudgetId budget = kNoBudget;
  int64_t min_runtime_ms = 0;  // from its placement on, and anew from its bind, nobody may have it stopped
  bool preemptible = true;     // false: never
  FamilyId family = 0;         // claims of one thing, for `apart`
  Apart apart = Apart::No;     // not of a group's member, which has levels
  bool operator==(const ClaimSubmitted&) const = default;
};
// A claim that is known to run, and where: after a restart of whoever tells, or because somebody else bound it. It is
// booked whether or not it fits, whatever the health and cordon of the devices and the limits of its queue. One that
// waits or is reserved becomes bound there. The members of a gang that were never told of count as ended.
struct ClaimAdopted {
  struct Device {
    std::string id;
    uint8_t start = 0;  // of its partition
    bool operator==(const Device&) const = default;
  };
  ClaimSubmitted claim;
  std::string node;
  std::vector<Device> devices;
  bool operator==(const ClaimAdopted&) const = default;
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
                           GroupPut, GroupGone, ClaimSubmitted, ClaimWithdrawn, BindConfirmed, BindFailed,
                           Resize, Timer, NamespacePut, BudgetPut, WeightsOnNode, ClaimAdopted>;

}  // namespace tweendeck::placement

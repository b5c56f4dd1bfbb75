// What placement is told about machines and what claims ask of them. Plain data, no invariants beyond the
// comments; `Cluster` checks them when they come in.
//
// Memory and compute of a device are separate dimensions. Compute is counted in permille of a whole device.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "base/types.h"

namespace tweendeck::placement {

inline constexpr uint32_t kWholeCompute = 1000;     // permille
inline constexpr uint32_t kMaxDevicesPerNode = 16;  // a node with more is refused with LimitExceeded
inline constexpr uint32_t kMaxPartitionSlots = 8;   // memory slices of a MIG device
inline constexpr uint32_t kMaxPartitionProfiles = 16;
inline constexpr uint32_t kMaxCpuMilli = 1u << 30;
inline constexpr uint64_t kMaxMemoryBytes = 1ull << 60;  // sums of all claims of a node stay in 63 bits

using Attribute = std::pair<std::string, std::string>;  // name, value; names are unique within a list

// A size into which hardware can cut a device (MIG: "1g.10gb"). `starts` has bit s where a partition may
// begin at slot s; it then takes `slots` slots from there.
struct PartitionProfile {
  std::string name;
  uint64_t memory_bytes = 0;
  uint32_t compute_permille = 0;
  uint8_t slots = 1;
  uint8_t starts = 0;
  bool operator==(const PartitionProfile&) const = default;
};

struct DeviceFacts {
  std::string id;  // unique in the cluster: the UUID
  std::string vendor;
  std::string model;
  uint64_t memory_bytes = 0;
  Isolation isolation = Isolation::Library;  // strongest that a slice gets
  bool healthy = true;
  bool cordoned = false;   // takes nothing new
  int32_t numa_node = -1;  // -1 = unknown; unknown is near nothing
  int32_t pcie_root = -1;
  int32_t link_island = -1;                  // devices joined by NVLink or the like
  uint16_t max_claims = 1000;                // slices it takes at once; at least 1
  std::vector<PartitionProfile> partitions;  // empty = slices are cut by software; else only these
  std::vector<Attribute> attributes;
  bool operator==(const DeviceFacts&) const = default;
};

struct NodeFacts {
  std::string name;  // unique
  uint32_t cpu_milli = 0;
  uint64_t memory_bytes = 0;  // of the machine, not of its devices
  bool cordoned = false;
  std::string rack;   // "" = unknown
  std::string block;  // what racks belong to
  std::vector<Attribute> attributes;
  std::vector<DeviceFacts> devices;
  bool operator==(const NodeFacts&) const = default;
};

// One condition on attributes of a device or of its node (the device's win). All of a request must hold.
struct Condition {
  enum class Op : uint8_t { In, NotIn, Exists, Absent, AtLeast, AtMost };  // the last two compare integers
  std::string name;
  Op op = Op::In;
  std::vector<std::string> values;
  bool operator==(const Condition&) const = default;
};

// Where the devices of one claim lie to each other.
enum class Near : uint8_t { Anywhere, SameNuma, SamePcieRoot, SameIsland };

// How a claim wants to be put; Default leaves it to the policy. Mutex is a condition: only devices that nobody is on
// when the claim comes; later claims may join, unlike with `exclusive`.
enum class Prefer : uint8_t { Default, Pack, Spread, Mutex };

// What one claim (one pod) asks: `devices` equal slices, each on another device of one node. Requests that
// are equal have one shape. On a device that is cut into partitions a slice is one partition: the named one, else the
// one with the fewest slots (then the first listed) that holds memory and compute asked.
struct Request {
  uint32_t cpu_milli = 0;
  uint64_t node_memory_bytes = 0;
  uint32_t devices = 0;                 // 0 = CPU only
  uint64_t memory_bytes = 0;            // per device
  uint32_t memory_percent = 0;          // of each device's memory, in whole hundredths (memory / 100, rounded
                                        // down); used when memory_bytes is 0; at most 100
  uint32_t compute_permille = 0;        // per device; kWholeCompute = all of it
  bool exclusive = false;               // nobody else on those devices, whatever the sizes
  std::string partition;                // name of a profile; "" = none asked
  std::vector<std::string> models;      // exact names, any of them; empty = any
  std::vector<std::string> device_ids;  // any of them; empty = any
  std::string vendor;                   // "" = any
  std::vector<Condition> conditions;
  Isolation min_isolation = Isolation::None;
  Near near = Near::Anywhere;
  bool near_required = true;  // false: preferred
  Prefer prefer = Prefer::Default;
  bool operator==(const Request&) const = default;
};

}  // namespace tweendeck::placement

// Nodes and pods of a cluster trace, as CSV with a header line (the openb trace's columns).
//
//   nodes: sn,cpu_milli,memory_mib,gpu,model
//   pods:  name,cpu_milli,memory_mib,num_gpu,gpu_milli[,gpu_spec,qos,creation_time,deletion_time,scheduled_time]
//
// Further columns are ignored. Amounts are milli-CPU, MiB and thousandths of a GPU. Pure; the text is any bytes.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace tweendeck::sim {

inline constexpr int kMaxGpus = 8;  // of a node
inline constexpr int kGpuMilli = 1000;
inline constexpr size_t kMaxModels = 32;  // a pod's allowed models are one bit each
inline constexpr size_t kMaxNodes = 1'000'000;
inline constexpr size_t kMaxPods = 10'000'000;
inline constexpr int64_t kMaxCpuMilli = 100'000'000;
inline constexpr int64_t kMaxMemoryMib = 1ll << 40;
inline constexpr int64_t kMaxSeconds = 1ll << 40;
inline constexpr uint32_t kAnyModel = UINT32_MAX;

struct TraceNode {
  std::string name;
  int32_t cpu_milli = 0;
  int64_t memory_mib = 0;
  uint8_t gpus = 0;
  uint8_t model = 0;  // index of NodeList::models
  bool operator==(const TraceNode&) const = default;
};

struct NodeList {
  std::vector<TraceNode> nodes;
  std::vector<std::string> models;
  int64_t gpu_milli() const;  // of all nodes
  bool operator==(const NodeList&) const = default;
};

struct TracePod {
  std::string name;
  int32_t cpu_milli = 0;
  int64_t memory_mib = 0;
  uint8_t gpus = 0;             // 0 = CPU only
  int16_t gpu_milli = 0;        // of each GPU: 1000 = whole, less only with one GPU, 0 = CPU only
  uint32_t models = kAnyModel;  // bit i = NodeList::models[i] is allowed
  std::string spec;             // gpu_spec as written; "" = any model
  uint8_t queue = 0;            // index of PodList::queues
  int64_t lifetime_s = -1;      // deletion_time - scheduled_time; -1 = the trace does not say
  int32_t asked_milli() const { return gpus * gpu_milli; }
  bool operator==(const TracePod&) const = default;
};

struct PodList {
  std::vector<TracePod> pods;
  std::vector<std::string> queues;  // of the column qos; "-" without it
  bool operator==(const PodList&) const = default;
};

// `source` names the text in errors, which are InvalidArgument with file and line.
Result<NodeList> parse_nodes(std::string_view text, const std::string& source);
Result<PodList> parse_pods(std::string_view text, const std::string& source, const NodeList& nodes);

// The node list `times` times over, names with a suffix from the second copy on.
NodeList repeat_nodes(const NodeList& nodes, uint32_t times);

}  // namespace tweendeck::sim

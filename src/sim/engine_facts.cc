#include "sim/engine_facts.h"

#include <fmt/format.h>

#include "base/units.h"

namespace tweendeck::sim {

placement::NodeFacts facts_of(const TraceNode& node, const NodeList& list) {
  placement::NodeFacts facts;
  facts.name = node.name;
  facts.cpu_milli = static_cast<uint32_t>(node.cpu_milli);
  facts.memory_bytes = static_cast<uint64_t>(node.memory_mib) * kMiB;
  for (int gpu = 0; gpu < node.gpus; ++gpu) {
    placement::DeviceFacts device;
    device.id = fmt::format("{}/{}", node.name, gpu);
    device.model = list.models[node.model];
    facts.devices.push_back(std::move(device));
  }
  return facts;
}

placement::Request request_of(const TracePod& pod, const NodeList& list) {
  placement::Request request;
  request.cpu_milli = static_cast<uint32_t>(pod.cpu_milli);
  request.node_memory_bytes = static_cast<uint64_t>(pod.memory_mib) * kMiB;
  request.devices = pod.gpus;
  request.compute_permille = static_cast<uint32_t>(pod.gpu_milli);
  if (pod.gpus == 0 || pod.models == kAnyModel) return request;
  for (size_t model = 0; model < list.models.size(); ++model)
    if ((pod.models >> model & 1) != 0) request.models.push_back(list.models[model]);
  // Models that no node has: the pod fits nowhere, and an empty list would mean any.
  if (request.models.empty()) request.models.push_back(pod.spec);
  return request;
}

}  // namespace tweendeck::sim

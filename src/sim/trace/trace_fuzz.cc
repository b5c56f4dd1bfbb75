// Any bytes as node list, pod list, order, event log and published rows: refused with a reason that names the line, or read as what
// the formats promise.
#include <algorithm>
#include <cstdint>
#include <cstdlib>

#include "sim/trace/cluster_trace.h"
#include "sim/trace/event_log.h"
#include "sim/trace/orders.h"
#include "sim/trace/published.h"

using namespace tweendeck;
using namespace tweendeck::sim;

namespace {

template <class T>
bool refused(const Result<T>& result) {
  if (result) return false;
  if (!result.error().message.starts_with("fuzz:") || result.error().hint.empty()) std::abort();
  return true;
}

void check_pod(const TracePod& pod) {
  bool none = pod.gpus == 0 && pod.gpu_milli == 0;
  bool share = pod.gpus == 1 && pod.gpu_milli > 0 && pod.gpu_milli <= kGpuMilli;
  bool whole = pod.gpus > 1 && pod.gpus <= kMaxGpus && pod.gpu_milli == kGpuMilli;
  if (!(none || share || whole) || pod.cpu_milli < 0 || pod.memory_mib < 0 || pod.lifetime_s < -1)
    std::abort();
}

NodeList one_node() {
  NodeList list;
  list.nodes.emplace_back().name = "a";
  return list;
}
PodList one_pod() {
  PodList list;
  list.pods.emplace_back().name = "p";
  return list;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  constexpr size_t kNodes = 3, kPods = 4;
  std::string_view text(reinterpret_cast<const char*>(data), size);
  auto nodes = parse_nodes(text, "fuzz");
  if (!refused(nodes)) {
    if (nodes->gpu_milli() <= 0 || nodes->models.size() > kMaxModels) std::abort();
    for (const TraceNode& node : nodes->nodes)
      if (node.gpus > kMaxGpus || node.model >= nodes->models.size() || node.cpu_milli < 0) std::abort();
  }
  auto pods = parse_pods(text, "fuzz", NodeList{{}, {"A", "B"}});
  if (!refused(pods)) {
    for (const TracePod& pod : pods->pods) {
      check_pod(pod);
      if (pod.queue >= pods->queues.size()) std::abort();
    }
  }
  auto orders = parse_orders(text, "fuzz", kNodes, kPods);
  if (!refused(orders)) {
    for (Order order : *orders) {
      std::sort(order.ranks.begin(), order.ranks.end());
      if (order.ranks != std::vector<uint32_t>{0, 1, 2} || order.arrivals.empty()) std::abort();
      for (uint32_t row : order.arrivals)
        if (row >= kPods) std::abort();
    }
  }
  auto events = parse_event_log(text, "fuzz", one_node(), one_pod());
  if (!refused(events)) {
    int64_t last_ms = 0;
    for (const TimelineEvent& event : *events) {
      if (event.at_ms < last_ms || event.subject != 0 || event.lifetime_ms < kForever) std::abort();
      last_ms = event.at_ms;
    }
  }
  refused(parse_published(text, "fuzz"));
  return 0;
}

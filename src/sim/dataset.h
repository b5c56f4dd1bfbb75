// A folder of traces laid out like the published ones: what --data and the gate read.
//
//   openb_node_list_gpu_node.csv, openb_pod_list_WORKLOAD.csv, arrivals/WORKLOAD.txt.gz, published_rows.csv
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "sim/trace/cluster_trace.h"
#include "sim/trace/orders.h"

namespace tweendeck::sim {

struct Workload {
  std::string name;
  NodeList nodes;
  PodList pods;
  std::vector<Order> orders;
};

// Errors: as read_text_file and the parsers. `order` may be "": no orders are read.
Result<Workload> load_workload(const std::string& name, const std::string& nodes, const std::string& pods,
                               const std::string& order);
// One workload of a folder.
Result<Workload> load_workload_of(const std::string& folder, const std::string& name);

// The workloads of a folder, by name. Errors: NotFound when it has none.
Result<std::vector<std::string>> workloads_of(const std::string& folder);
std::string published_file_of(const std::string& folder);

}  // namespace tweendeck::sim

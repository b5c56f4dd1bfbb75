#include "bench/placement/trace.h"

#include <cstdio>
#include <cstdlib>
#include <fstream>
#include <sstream>

namespace tweendeck::bench {
namespace {

constexpr uint64_t kMiB = 1ull << 20;

[[noreturn]] void stop(const std::string& message) {
  std::fprintf(stderr, "%s\n", message.c_str());
  std::exit(2);
}

std::vector<std::vector<std::string>> read_csv(const std::string& path, size_t columns) {
  std::ifstream file(path);
  if (!file) stop("cannot read " + path);
  std::vector<std::vector<std::string>> rows;
  std::string line;
  std::getline(file, line);  // heading
  while (std::getline(file, line)) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    std::vector<std::string> row;
    std::istringstream fields(line);
    for (std::string field; std::getline(fields, field, ',');) row.push_back(field);
    if (row.size() + 1 >= columns) rows.push_back(std::move(row));
  }
  return rows;
}

uint32_t number(const std::string& text) {
  return static_cast<uint32_t>(std::stoul(text));
}

}  // namespace

Trace read_trace(const std::string& nodes, const std::string& pods, const std::string& arrivals) {
  Trace trace;
  for (const auto& row : read_csv(nodes, 5)) {
    placement::NodeFacts node;
    node.name = row[0];
    node.cpu_milli = number(row[1]);
    node.memory_bytes = number(row[2]) * kMiB;
    for (uint32_t i = 0; i < number(row[3]); ++i) {
      placement::DeviceFacts device;
      device.id = row[0] + "/" + std::to_string(i);
      device.model = row[4];
      node.devices.push_back(device);
    }
    trace.nodes.push_back(std::move(node));
  }
  for (const auto& row : read_csv(pods, 5)) {
    placement::Request pod;
    pod.cpu_milli = number(row[1]);
    pod.node_memory_bytes = number(row[2]) * kMiB;
    pod.devices = number(row[3]);
    pod.compute_permille = pod.devices == 0 ? 0 : number(row[4]);
    if (row.size() > 5 && pod.devices > 0) {
      std::istringstream models(row[5]);
      for (std::string model; std::getline(models, model, '|');) pod.models.push_back(model);
    }
    trace.pods.push_back(std::move(pod));
  }
  std::ifstream file(arrivals);
  if (!file) stop("cannot read " + arrivals);
  std::string word;
  while (file >> word) {
    Trace::Run run;
    size_t node_count = 0;
    size_t arrival_count = 0;
    file >> run.seed >> word >> node_count >> word >> arrival_count;
    run.ranks.resize(node_count);
    run.arrivals.resize(arrival_count);
    for (uint32_t& rank : run.ranks) file >> rank;
    for (uint32_t& arrival : run.arrivals) file >> arrival;
    if (!file || node_count != trace.nodes.size()) stop(arrivals + " does not fit the node list");
    trace.runs.push_back(std::move(run));
  }
  return trace;
}

placement::Cluster make_cluster(const Trace& trace, const Trace::Run& run, uint32_t copies) {
  std::vector<uint32_t> by_rank(trace.nodes.size());
  for (uint32_t i = 0; i < by_rank.size(); ++i) by_rank[run.ranks[i]] = i;
  placement::Cluster cluster;
  for (uint32_t copy = 0; copy < copies; ++copy) {
    for (const uint32_t index : by_rank) {
      placement::NodeFacts node = trace.nodes[index];
      const std::string suffix = "." + std::to_string(copy);
      node.name += suffix;
      for (placement::DeviceFacts& device : node.devices) device.id += suffix;
      if (const auto put = cluster.put_node(node); !put) stop(put.error().message);
    }
  }
  return cluster;
}

}  // namespace tweendeck::bench

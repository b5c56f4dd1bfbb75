#include "sim/dataset.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <system_error>

#include "sim/trace/text_file.h"

namespace tweendeck::sim {

namespace {

constexpr std::string_view kNodes = "openb_node_list_gpu_node.csv";
constexpr std::string_view kPodsPrefix = "openb_pod_list_";
constexpr std::string_view kPodsSuffix = ".csv";
constexpr std::string_view kPublished = "published_rows.csv";

}  // namespace

Result<Workload> load_workload(const std::string& name, const std::string& nodes, const std::string& pods,
                               const std::string& order) {
  Workload workload;
  workload.name = name;
  Result<std::string> node_text = read_text_file(nodes);
  if (!node_text) return fail(node_text.error());
  Result<NodeList> node_list = parse_nodes(*node_text, nodes);
  if (!node_list) return fail(node_list.error());
  workload.nodes = std::move(*node_list);
  Result<std::string> pod_text = read_text_file(pods);
  if (!pod_text) return fail(pod_text.error());
  Result<PodList> pod_list = parse_pods(*pod_text, pods, workload.nodes);
  if (!pod_list) return fail(pod_list.error());
  workload.pods = std::move(*pod_list);
  if (order.empty()) return workload;
  Result<std::string> order_text = read_text_file(order);
  if (!order_text) return fail(order_text.error());
  Result<std::vector<Order>> orders =
      parse_orders(*order_text, order, workload.nodes.nodes.size(), workload.pods.pods.size());
  if (!orders) return fail(orders.error());
  workload.orders = std::move(*orders);
  return workload;
}

Result<Workload> load_workload_of(const std::string& folder, const std::string& name) {
  return load_workload(name, fmt::format("{}/{}", folder, kNodes),
                       fmt::format("{}/{}{}{}", folder, kPodsPrefix, name, kPodsSuffix),
                       fmt::format("{}/arrivals/{}.txt.gz", folder, name));
}

Result<std::vector<std::string>> workloads_of(const std::string& folder) {
  std::vector<std::string> names;
  std::error_code problem;
  for (const auto& entry : std::filesystem::directory_iterator(folder, problem)) {
    std::string file = entry.path().filename().string();
    if (!file.starts_with(kPodsPrefix) || !file.ends_with(kPodsSuffix)) continue;
    names.push_back(file.substr(kPodsPrefix.size(), file.size() - kPodsPrefix.size() - kPodsSuffix.size()));
  }
  if (problem) return fail(system_error(problem.value(), "cannot read the folder " + folder));
  if (names.empty()) {
    return fail(Reason::NotFound, fmt::format("{} has no {}*{}", folder, kPodsPrefix, kPodsSuffix),
                "--data names a folder laid out as docs/guides/simulate.md says");
  }
  std::ranges::sort(names);
  return names;
}

std::string published_file_of(const std::string& folder) {
  return fmt::format("{}/{}", folder, kPublished);
}

}  // namespace tweendeck::sim

#include "device/providers/cpu/topology.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <iterator>

#include "base/text.h"
#include "base/units.h"

namespace tweendeck::device {
namespace {

std::string text_of(Kernel& kernel, const std::string& path) {
  std::string text;
  if (kernel.read(path, text) != 0) return "";
  return std::string(trim(text));
}

// The value of the first line "key ... : value" (cpuinfo, status, meminfo).
std::string_view value_of(std::string_view text, std::string_view key) {
  for (std::string_view line : split(text, '\n')) {
    size_t colon = line.find(':');
    if (colon != std::string_view::npos && trim(line.substr(0, colon)).ends_with(key))
      return trim(line.substr(colon + 1));
  }
  return "";
}

uint64_t kilobytes(std::string_view value) {  // "24684092 kB"
  uint64_t number = 0;
  std::from_chars(value.data(), value.data() + value.size(), number);
  return number * kKiB;
}

std::string vendor_name(std::string_view kernel_name) {
  if (kernel_name == "AuthenticAMD") return "AMD";
  if (kernel_name == "GenuineIntel") return "Intel";
  if (kernel_name == "0x41") return "ARM";
  return kernel_name.empty() ? "unknown" : std::string(kernel_name);
}

std::vector<NumaNode> nodes_of(Kernel& kernel, const std::string& root, const std::vector<int>& allowed) {
  std::string folder = root + "/sys/devices/system/node";
  std::vector<NumaNode> nodes;
  for (int number : parse_number_list(text_of(kernel, folder + "/online"))) {
    std::string node_folder = fmt::format("{}/node{}", folder, number);
    NumaNode node{.number = number, .cpus = {}, .memory_bytes = 0};
    std::ranges::set_intersection(parse_number_list(text_of(kernel, node_folder + "/cpulist")), allowed,
                                  std::back_inserter(node.cpus));
    node.memory_bytes = kilobytes(value_of(text_of(kernel, node_folder + "/meminfo"), "MemTotal"));
    if (!node.cpus.empty() && node.memory_bytes > 0) nodes.push_back(std::move(node));
  }
  return nodes;
}

}  // namespace

std::vector<int> parse_number_list(std::string_view text) {
  std::vector<int> numbers;
  for (std::string_view range : split(trim(text), ',')) {
    const char* end = range.data() + range.size();
    int first = 0;
    auto [rest, error] = std::from_chars(range.data(), end, first);
    if (error != std::errc() || first < 0) continue;
    int last = first;
    if (rest != end && (*rest != '-' || std::from_chars(rest + 1, end, last).ec != std::errc())) continue;
    for (int number = first; number <= std::min(last, kMaxCpuNumber); ++number) numbers.push_back(number);
  }
  std::ranges::sort(numbers);
  numbers.erase(std::ranges::unique(numbers).begin(), numbers.end());
  return numbers;
}

std::string format_number_list(const std::vector<int>& ascending) {
  std::vector<std::string> ranges;
  for (size_t i = 0; i < ascending.size();) {
    size_t last = i;
    while (last + 1 < ascending.size() && ascending[last + 1] == ascending[last] + 1) ++last;
    ranges.push_back(last == i ? fmt::format("{}", ascending[i])
                               : fmt::format("{}-{}", ascending[i], ascending[last]));
    i = last + 1;
  }
  return join(ranges, ",");
}

Result<Topology> read_topology(Kernel& kernel, const std::string& root) {
  std::string cpuinfo = text_of(kernel, root + "/proc/cpuinfo");
  std::string status = text_of(kernel, root + "/proc/self/status");
  uint64_t machine_bytes = kilobytes(value_of(text_of(kernel, root + "/proc/meminfo"), "MemTotal"));
  std::vector<int> online = parse_number_list(text_of(kernel, root + "/sys/devices/system/cpu/online"));
  std::vector<int> allowed = parse_number_list(value_of(status, "Cpus_allowed_list"));
  if (online.empty() || machine_bytes == 0) {
    return fail(Reason::IoError, "/sys/devices/system/cpu/online or /proc/meminfo says nothing usable",
                "mount /proc and /sys");
  }
  if (allowed.empty()) allowed = online;

  Topology topology;
  topology.nodes = nodes_of(kernel, root, allowed);
  if (topology.nodes.empty()) {
    NumaNode whole{.number = 0, .cpus = {}, .memory_bytes = machine_bytes};
    std::ranges::set_intersection(online, allowed, std::back_inserter(whole.cpus));
    topology.nodes.push_back(std::move(whole));
  }
  // A kernel that initialises memory late counts a node's pages only then; the machine's total is right from
  // the start.
  if (topology.nodes.size() == 1) topology.nodes[0].memory_bytes = machine_bytes;
  std::string_view vendor = value_of(cpuinfo, "vendor_id");
  topology.vendor = vendor_name(vendor.empty() ? value_of(cpuinfo, "CPU implementer") : vendor);
  topology.model = value_of(cpuinfo, "model name");
  if (topology.model.empty()) topology.model = topology.vendor + " CPU";
  return topology;
}

}  // namespace tweendeck::device

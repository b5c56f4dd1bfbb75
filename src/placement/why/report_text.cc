// The report as a person reads it, and as a program does.
#include <fmt/format.h>

#include <algorithm>

#include "base/text.h"
#include "base/units.h"
#include "placement/why/report.h"

namespace tweendeck::placement {
namespace {

constexpr size_t kNamesShown = 3;

// 99392 -> "99,392"
std::string grouped(uint64_t value) {
  std::string text = std::to_string(value);
  for (size_t at = text.size(); at > 3;) text.insert(at -= 3, ",");
  return text;
}

std::string many(uint64_t count, std::string_view noun) {
  return grouped(count) + " " + std::string(noun) + (count == 1 ? "" : "s");
}

std::string percent(uint32_t permille) {
  return permille % 10 == 0 ? fmt::format("{} %", permille / 10)
                            : fmt::format("{}.{} %", permille / 10, permille % 10);
}

std::string cpus(uint64_t milli) {
  if (milli % 1000 == 0) return many(milli / 1000, "CPU");
  return fmt::format("{}.{:03} CPUs", milli / 1000, milli % 1000);
}

std::string names(const std::vector<std::string>& list, std::string_view last) {
  if (list.size() == 1) return list.front();
  if (list.size() <= kNamesShown) {
    const std::vector<std::string> first(list.begin(), list.end() - 1);
    return join(first, ", ") + std::string(last) + list.back();
  }
  const std::vector<std::string> first(list.begin(), list.begin() + kNamesShown);
  return join(first, ", ") + fmt::format(" and {} more", list.size() - kNamesShown);
}

std::string device_share(const Request& request) {
  std::vector<std::string> parts;
  if (!request.partition.empty()) parts.push_back("a partition " + request.partition);
  if (request.memory_bytes > 0) parts.push_back(format_bytes(request.memory_bytes) + " of memory");
  if (request.memory_bytes == 0 && request.memory_percent > 0) {
    parts.push_back(fmt::format("{} % of the memory", request.memory_percent));
  }
  if (request.compute_permille == kWholeCompute) parts.push_back("all of the compute");
  if (request.compute_permille > 0 && request.compute_permille < kWholeCompute)
    parts.push_back(percent(request.compute_permille) + " of the compute");
  return join(parts, " and ");
}

std::string wishes(const Request& request) {
  std::vector<std::string> parts;
  if (!request.models.empty()) parts.push_back("of model " + names(request.models, " or "));
  if (!request.vendor.empty()) parts.push_back("from " + request.vendor);
  if (!request.device_ids.empty()) parts.push_back("one of " + names(request.device_ids, ", "));
  if (request.exclusive) parts.push_back("shared with nobody");
  if (request.near_required && request.devices > 1) {
    if (request.near == Near::SameNuma) parts.push_back("at one NUMA node");
    if (request.near == Near::SamePcieRoot) parts.push_back("at one PCIe root");
    if (request.near == Near::SameIsland) parts.push_back("joined by fast links");
  }
  if (request.min_isolation != Isolation::None) {
    parts.push_back(fmt::format("isolated at least by '{}'", to_string(request.min_isolation)));
  }
  return parts.empty() ? "" : ", " + join(parts, ", ");
}

std::string host_share(const Request& request) {
  std::vector<std::string> parts;
  if (request.cpu_milli > 0) parts.push_back(cpus(request.cpu_milli));
  if (request.node_memory_bytes > 0)
    parts.push_back(format_bytes(request.node_memory_bytes) + " of the machine's memory");
  return join(parts, " and ");
}

std::string need(const Request& request) {
  const std::string host = host_share(request);
  if (request.devices == 0) return "needs " + (host.empty() ? "a node" : host);
  std::string text = "needs " + many(request.devices, "device");
  const std::string share = device_share(request);
  if (request.devices > 1) text += share.empty() ? " of one node" : " of one node, each";
  if (!share.empty()) text += " with " + share;
  text += wishes(request);
  return host.empty() ? text : text + "; and " + host;
}

// What a device that lacks no size is or does.
std::string state_of(Reason reason) {
  switch (reason) {
    case Reason::DeviceHeld:
      return "is held by others";
    case Reason::DeviceUnhealthy:
      return "reports a fault";
    case Reason::DeviceCordoned:
      return "takes nothing new";
    case Reason::InsufficientPartitions:
      return "has no free partition of that size";
    default:
      return "does not do: " + as_clause(describe(reason));
  }
}

std::string lack(const NearMiss::Device& device) {
  std::vector<std::string> parts;
  if (device.memory_bytes > 0) parts.push_back(format_bytes(device.memory_bytes) + " of memory");
  if (device.compute_permille > 0) parts.push_back(percent(device.compute_permille) + " of the compute");
  if (!parts.empty()) return device.id + " lacks " + join(parts, " and ");
  return fmt::format("{} {} [{}]", device.id, state_of(device.reason), to_string(device.reason));
}

std::string nearest_line(const NearMiss& miss) {
  std::vector<std::string> parts;
  for (size_t i = 0; i < miss.devices.size() && i < kNamesShown; ++i) parts.push_back(lack(miss.devices[i]));
  if (miss.devices.size() > kNamesShown)
    parts.push_back(
        fmt::format("and {} more lack something", many(miss.devices.size() - kNamesShown, "device")));
  if (miss.cpu_milli > 0) parts.push_back("it lacks " + cpus(miss.cpu_milli));
  if (miss.host_memory_bytes > 0)
    parts.push_back("it lacks " + format_bytes(miss.host_memory_bytes) + " of the machine's memory");
  if (miss.reason == Reason::NoDevices || miss.reason == Reason::TooFewDevices)
    parts.push_back(fmt::format("it has {} too few", many(miss.devices_missing, "device")));
  if (miss.reason == Reason::DevicesTooFarApart)
    parts.push_back("it has enough devices with room, but not near each other");
  if (!miss.detail.empty()) parts = {miss.detail};
  if (miss.reason == Reason::NodeCordoned) parts = {"it is closed to new claims"};
  return fmt::format("Nearest is {}: {}", miss.node, join(parts, "; "));
}

// "in 2m10s, at 12m30s" of a time that counts from where the log does.
std::string when(int64_t at_ms, int64_t now_ms) {
  const std::string at = "at " + format_duration(at_ms * kMillisecond);
  return now_ms < 0 ? at : fmt::format("in {}, {}", format_duration((at_ms - now_ms) * kMillisecond), at);
}

std::string remedy_line(const Remedy& remedy, int64_t now_ms) {
  switch (remedy.kind) {
    case Remedy::Kind::Quota:
      return fmt::format("room in the quota: {} [{}]",
                         remedy.detail.empty() ? as_clause(describe(remedy.reason)) : remedy.detail,
                         to_string(remedy.reason));
    case Remedy::Kind::End:
      return fmt::format("the end of {} would make room on {}{}{}", names(remedy.names, " and "), remedy.node,
                         remedy.fewest ? "" : " (perhaps fewer would do)",
                         remedy.at_ms < 0 ? "" : "; by itself " + when(remedy.at_ms, now_ms));
    case Remedy::Kind::Leave:
      return fmt::format("waiting: if nobody else takes it, there is room on {} when {} ends, {}",
                         remedy.node, remedy.names.front(), when(remedy.at_ms, now_ms));
    case Remedy::Kind::Reopen:
      return fmt::format("{} has room once it is open and healthy again [{}]", remedy.node,
                         to_string(remedy.reason));
    case Remedy::Kind::None:
      break;
  }
  return "another machine, or to ask for less: no node here could hold the claim even if it were empty";
}

std::string_view kind_name(Remedy::Kind kind) {
  switch (kind) {
    case Remedy::Kind::Quota:
      return "quota";
    case Remedy::Kind::End:
      return "end";
    case Remedy::Kind::Leave:
      return "leave";
    case Remedy::Kind::Reopen:
      return "reopen";
    case Remedy::Kind::None:
      break;
  }
  return "other-machine";
}

std::string time(int64_t ms) {
  return ms < 0 ? "null" : std::to_string(ms);
}

std::string json_list(const std::vector<std::string>& list) {
  std::vector<std::string> quoted;
  for (const std::string& each : list) quoted.push_back(json_quote(each));
  return "[" + join(quoted, ",") + "]";
}

std::string json_miss(const NearMiss& miss) {
  std::vector<std::string> devices;
  for (const NearMiss::Device& device : miss.devices) {
    devices.push_back(fmt::format(
        R"({{"id":{},"reason":"{}","lacks_memory_bytes":{},"lacks_compute_permille":{}}})",
        json_quote(device.id), to_string(device.reason), device.memory_bytes, device.compute_permille));
  }
  return fmt::format(
      R"({{"node":{},"reason":"{}","devices_missing":{},"devices":[{}],"lacks_cpu_milli":{},"lacks_host_memory_bytes":{},"detail":{}}})",
      json_quote(miss.node), to_string(miss.reason), miss.devices_missing, join(devices, ","), miss.cpu_milli,
      miss.host_memory_bytes, json_quote(miss.detail));
}

}  // namespace

std::string as_clause(std::string_view sentence) {
  std::string text(sentence);
  const bool word = text.size() > 1 && text[0] >= 'A' && text[0] <= 'Z' && text[1] >= 'a' && text[1] <= 'z';
  if (word) text[0] = static_cast<char>(text[0] - 'A' + 'a');
  return text;
}

std::string Report::text() const {
  std::string text = "It " + need(request) + ".\n";
  if (nodes == 0) return text + "There is no node at all.\n";
  if (fitting_nodes > 0) {
    text += fmt::format("{} of {} {} room.", grouped(fitting_nodes), many(nodes, "node"),
                        fitting_nodes == 1 ? "has" : "have");
    text += reasons.empty() ? "\n" : " The others:\n";
  } else {
    text += fmt::format("No node has room. Of {} with {}:\n", many(nodes, "node"), many(devices, "device"));
  }
  std::vector<std::string> counts;
  size_t widest = 0;
  for (const ReasonNodes& each : reasons) {
    counts.push_back(many(each.nodes, "node"));
    if (each.devices > 0) counts.back() += fmt::format(" ({})", many(each.devices, "device"));
    widest = std::max(widest, counts.back().size());
  }
  for (size_t i = 0; i < reasons.size(); ++i) {
    text += fmt::format("  {:<{}}  {} [{}]\n", counts[i], widest, as_clause(describe(reasons[i].reason)),
                        to_string(reasons[i].reason));
  }
  for (const NearMiss& miss : nearest) text += nearest_line(miss) + ".\n";
  if (!remedies.empty()) text += "What would help:\n";
  for (const Remedy& remedy : remedies) text += "- " + remedy_line(remedy, now_ms) + ".\n";
  return text;
}

std::string Report::json() const {
  std::vector<std::string> counts;
  for (const ReasonNodes& each : reasons) {
    counts.push_back(fmt::format(R"({{"reason":"{}","nodes":{},"devices":{}}})", to_string(each.reason),
                                 each.nodes, each.devices));
  }
  std::vector<std::string> helps;
  for (const Remedy& each : remedies) {
    helps.push_back(fmt::format(
        R"({{"kind":"{}","names":{},"node":{},"at_ms":{},"fewest":{},"reason":"{}","detail":{}}})",
        kind_name(each.kind), json_list(each.names), json_quote(each.node), time(each.at_ms), each.fewest,
        to_string(each.reason), json_quote(each.detail)));
  }
  return fmt::format(
      R"({{"reason":"{}","nodes":{},"devices":{},"fitting_nodes":{},"reasons":[{}],"nearest":{},"remedies":[{}],"tried_ms":{}}})",
      to_string(reason()), nodes, devices, fitting_nodes, join(counts, ","),
      nearest.empty() ? "null" : json_miss(nearest.front()), join(helps, ","), time(tried_ms));
}

}  // namespace tweendeck::placement

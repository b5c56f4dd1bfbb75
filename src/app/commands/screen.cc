#include "app/commands/screen.h"

#include <fmt/format.h>

#include <algorithm>
#include <vector>

#include "app/cli/terminal.h"
#include "app/commands/show.h"
#include "base/text.h"
#include "base/units.h"

namespace tweendeck::commands {
namespace {

constexpr size_t kOwnerWidth = 20;
// Of the replicas' table, least important first: engine, restarts, KV cache, queue, requests per second.
const std::vector<size_t> kLeastFirst = {7, 6, 5, 4, 3};

double ratio(uint64_t part, uint64_t whole) {
  return whole == 0 ? 0 : static_cast<double>(part) / static_cast<double>(whole);
}

struct SliceCounters {
  uint64_t compute_ns = 0;
  uint64_t throttled_ns = 0;
};

std::map<std::string, SliceCounters> counters_of(const Snapshot& snapshot) {
  std::map<std::string, SliceCounters> counters;
  for (const net::JsonValue& device : snapshot.devices["devices"].items()) {
    for (const net::JsonValue& slice : device["slices"].items()) {
      counters[text_of(slice, "id")] = {count_of(slice["use"], "compute_ns"),
                                        count_of(slice["use"], "throttled_ns")};
    }
  }
  return counters;
}

// What part of the device a slice used between the two moments; negative when unknown. A CPU device has as
// much time per second as it has CPUs.
double compute_used(const net::JsonValue& slice, const net::JsonValue& device,
                    const std::map<std::string, SliceCounters>& before, Nanos elapsed) {
  auto found = before.find(text_of(slice, "id"));
  if (found == before.end() || elapsed <= 0 || !slice["use"].is_object()) return -1;
  uint64_t now = count_of(slice["use"], "compute_ns");
  uint64_t used = now - std::min(found->second.compute_ns, now);
  uint64_t units =
      text_of(device, "provider") == "cpu" ? std::max<uint64_t>(count_of(device, "compute_units"), 1) : 1;
  return ratio(used, static_cast<uint64_t>(elapsed) * units);
}

const net::JsonValue& find_by_id(const net::JsonValue& list, std::string_view id) {
  static const net::JsonValue none;
  for (const net::JsonValue& item : list.items()) {
    if (item["id"].text_or("") == id) return item;
  }
  return none;
}

// How much of a device is shown; less where the terminal is narrow.
struct Detail {
  size_t bar_width = 0;  // 0 = no bars
  bool model = false;
  bool isolation = false;
};
constexpr Detail kDetails[] = {
    {16, true, true}, {8, true, true}, {8, true, false}, {8, false, false}, {0, false, false}};

// "|####....| " or nothing.
std::string bar(double share, size_t width) {
  return width == 0 ? "" : fmt::format("|{}| ", show_bar(share, width));
}

std::string device_line(const net::JsonValue& device, const Detail& detail, bool color) {
  uint64_t memory = count_of(device, "memory_bytes");
  uint64_t held = memory - std::min(count_of(device, "free_memory_bytes"), memory);
  uint64_t share = 100 - std::min<uint64_t>(count_of(device, "free_compute_percent"), 100);
  std::string line = cli::paint(text_of(device, "id"), cli::Style::Bold, color);
  if (detail.model) line += " " + text_of(device, "model");
  line += fmt::format("  memory {}{} of {} held   compute {}{} % held",
                      bar(ratio(held, memory), detail.bar_width), format_bytes(held), format_bytes(memory),
                      bar(static_cast<double>(share) / 100, detail.bar_width), share);
  if (detail.isolation) line += "   " + show_isolation(device);
  return line;
}

std::string slice_line(const net::JsonValue& slice, double used, const Detail& detail, bool color) {
  const net::JsonValue& use = slice["use"];
  uint64_t limit = count_of(slice, "memory_bytes");
  std::string memory = format_bytes(limit);
  if (use.is_object()) {
    uint64_t bytes = count_of(use, "memory_bytes");
    memory = fmt::format("{}{} of {}", bar(ratio(bytes, limit), detail.bar_width / 2), format_bytes(bytes),
                         memory);
  }
  std::string compute = fmt::format("{} %", count_of(slice, "compute_percent"));
  if (used >= 0) compute = fmt::format("{:.1f} of {}", used * 100, compute);
  std::string line = fmt::format("  +- {:{}} memory {}  compute {}", text_of(slice, "owner"),
                                 detail.bar_width == 0 ? 0 : kOwnerWidth, memory, compute);
  if (uint64_t kills = count_of(use, "oom_kills"); kills > 0)
    line += cli::paint("  " + counted(kills, "oom kill"), cli::Style::Bad, color);
  return line;
}

std::vector<std::string> device_lines(const Snapshot& before, const Snapshot& now, const Detail& detail,
                                      bool color) {
  std::map<std::string, SliceCounters> counters = counters_of(before);
  std::vector<std::string> lines;
  for (const net::JsonValue& device : now.devices["devices"].items()) {
    lines.push_back(device_line(device, detail, color));
    for (const net::JsonValue& slice : device["slices"].items()) {
      lines.push_back(
          slice_line(slice, compute_used(slice, device, counters, now.at - before.at), detail, color));
    }
  }
  return lines;
}

// With as much detail as fits.
std::vector<std::string> device_lines(const Snapshot& before, const Snapshot& now, const FrameSize& size) {
  std::vector<std::string> lines;
  for (const Detail& detail : kDetails) {
    lines = device_lines(before, now, detail, size.color);
    auto fits = [&](const std::string& line) { return cli::display_width(line) <= size.columns; };
    if (std::ranges::all_of(lines, fits)) break;
  }
  return lines;
}

cli::Table replica_table(const Snapshot& before, const Snapshot& now, double elapsed_s, bool color) {
  cli::Table table({"REPLICA", "PHASE", "IN FLIGHT", "REQ/S", "QUEUE", "KV CACHE", "RESTARTS", "ENGINE"});
  for (size_t column = 2; column < 7; ++column) table.right_align(column);
  for (const net::JsonValue& deployment : now.deployments["deployments"].items()) {
    for (const net::JsonValue& replica : deployment["replicas"].items()) {
      std::string id = text_of(replica, "id");
      const net::JsonValue& endpoint = find_by_id(now.endpoints["endpoints"], id);
      const net::JsonValue& earlier = find_by_id(before.endpoints["endpoints"], id);
      uint64_t total = count_of(endpoint, "dispatched_total");
      uint64_t sent =
          earlier.is_object() ? total - std::min(count_of(earlier, "dispatched_total"), total) : 0;
      double kv = endpoint["reported"]["kv_cache_usage"].number_or(-1);
      int64_t waiting = endpoint["reported"]["waiting"].integer_or(-1);
      std::string engine = text_of(replica, "engine");
      if (replica["simulated"].bool_or(false)) engine += " (simulated)";
      std::string phase = show_phase(text_of(replica, "phase"), color);
      if (std::string reason = text_of(replica, "reason"); !reason.empty()) phase += " " + reason;
      table.row({id, phase, std::to_string(count_of(endpoint, "in_flight")),
                 elapsed_s > 0 ? fmt::format("{:.1f}", static_cast<double>(sent) / elapsed_s) : "-",
                 waiting < 0 ? "-" : std::to_string(waiting),
                 kv < 0 ? "-" : fmt::format("{:.0f} %", kv * 100),
                 std::to_string(count_of(replica, "restarts")), engine});
    }
  }
  return table;
}

}  // namespace

std::string cut_line(const std::string& text, size_t columns) {
  if (cli::display_width(text) <= columns) return text;
  std::string out;
  size_t width = 0;
  for (size_t i = 0; i < text.size();) {
    size_t end = i + 1;
    if (text[i] == '\x1b') {
      end = std::min(text.find('m', i), text.size() - 1) + 1;
    } else {
      while (end < text.size() && (static_cast<unsigned char>(text[end]) & 0xc0) == 0x80) ++end;
      size_t next = width + cli::display_width(std::string_view(text).substr(i, end - i));
      if (next > columns) break;
      width = next;
    }
    out.append(text, i, end - i);
    i = end;
  }
  return out.find('\x1b') == std::string::npos ? out : out + "\x1b[0m";
}

std::string draw(const Snapshot& before, const Snapshot& now, const FrameSize& size) {
  Nanos elapsed = now.at - before.at;
  double elapsed_s = static_cast<double>(elapsed) / static_cast<double>(kSecond);
  std::vector<std::string> lines = device_lines(before, now, size);
  lines.emplace_back();
  cli::Table replicas = replica_table(before, now, elapsed_s, size.color);
  if (replicas.empty()) {
    lines.emplace_back("nothing is served yet; try: tweendeck serve smollm2 --memory 1Gi --compute 40");
  } else {
    std::string table = replicas.render(size.color, size.columns, kLeastFirst);
    for (std::string_view line : split(table, '\n')) {
      if (!line.empty()) lines.emplace_back(line);
    }
  }
  for (const net::JsonValue& queue : now.endpoints["queues"].items()) {
    if (count_of(queue, "waiting") == 0) continue;
    uint64_t waiting = count_of(queue, "waiting");
    lines.push_back(fmt::format("{} of {} {} for a replica", counted(waiting, "request"),
                                text_of(queue, "model"), waiting == 1 ? "waits" : "wait"));
  }
  std::string frame;
  for (size_t i = 0; i < lines.size() && i < size.rows; ++i) frame += cut_line(lines[i], size.columns) + '\n';
  return frame;
}

}  // namespace tweendeck::commands

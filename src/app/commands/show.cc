#include "app/commands/show.h"

#include <fmt/format.h>
#include <time.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <map>

#include "base/units.h"

namespace tweendeck::commands {
namespace {

constexpr size_t kTimeDigits = 19;  // of "2026-11-22T17:00:00"

cli::Style style_of(std::string_view phase) {
  if (phase == "ready") return cli::Style::Good;
  if (phase == "unhealthy" || phase == "backoff") return cli::Style::Bad;
  return cli::Style::Warn;
}

std::string memory_cell(const net::JsonValue& slice) {
  const net::JsonValue& use = slice["use"];
  std::string limit = format_bytes(count_of(slice, "memory_bytes"));
  if (!use.is_object()) return limit;
  return fmt::format("{} / {}", format_bytes(count_of(use, "memory_bytes")), limit);
}

}  // namespace

std::string text_of(const net::JsonValue& object, std::string_view key) {
  return std::string(object[key].text_or(""));
}

uint64_t count_of(const net::JsonValue& object, std::string_view key) {
  int64_t value = object[key].integer_or(0);
  return value < 0 ? 0 : static_cast<uint64_t>(value);
}

std::string show_phase(std::string_view phase, bool color) {
  return cli::paint(phase, style_of(phase), color);
}

std::string show_isolation(const net::JsonValue& holder) {
  std::string level = text_of(holder, "isolation");
  std::string reason = text_of(holder, "isolation_reason");
  return reason.empty() ? level : fmt::format("{} ({})", level, reason);
}

std::string show_share(const net::JsonValue& slice) {
  return fmt::format("{} {} %", format_bytes(count_of(slice, "memory_bytes")),
                     count_of(slice, "compute_percent"));
}

std::string show_age(std::string_view time, Nanos wall_now) {
  if (time.size() < kTimeDigits) return "-";
  std::string digits(time.substr(0, kTimeDigits));
  tm parts{};
  if (strptime(digits.c_str(), "%Y-%m-%dT%H:%M:%S", &parts) == nullptr) return "-";
  Nanos age = wall_now - static_cast<Nanos>(timegm(&parts)) * kSecond;
  // Whole seconds: finer is noise in a table.
  return age < kSecond ? "0 s" : format_duration(age / kSecond * kSecond);
}

std::string show_clock(std::string_view time) {
  return time.size() < kTimeDigits ? std::string(time) : std::string(time.substr(11, 8));
}

std::string show_bar(double share, size_t width) {
  auto filled = static_cast<size_t>(std::lround(std::clamp(share, 0.0, 1.0) * static_cast<double>(width)));
  return std::string(filled, '#') + std::string(width - filled, '.');
}

cli::Table deployments_table(const net::JsonValue& answer, Nanos wall_now, bool color) {
  cli::Table table(
      {"REPLICA", "MODEL", "PHASE", "DEVICE", "MEMORY", "COMPUTE", "ENGINE", "PID", "RESTARTS", "AGE"});
  table.right_align(7);
  table.right_align(8);
  for (const net::JsonValue& deployment : answer["deployments"].items()) {
    if (deployment["replicas"].items().empty()) {
      table.row({text_of(deployment, "name"), text_of(deployment, "model"), "no replicas", "-", "-", "-", "-",
                 "-", "-", "-"});
    }
    for (const net::JsonValue& replica : deployment["replicas"].items()) {
      const net::JsonValue& slice = replica["slice"];
      bool held = slice.is_object();
      std::string engine = text_of(replica, "engine");
      if (replica["simulated"].bool_or(false)) engine += " (simulated)";
      std::string phase = show_phase(text_of(replica, "phase"), color);
      if (std::string reason = text_of(replica, "reason"); !reason.empty()) phase += " " + reason;
      uint64_t pid = count_of(replica, "pid");
      table.row({text_of(replica, "id"), text_of(deployment, "model"), phase,
                 held ? text_of(slice, "device") : "-", held ? memory_cell(slice) : "-",
                 held ? fmt::format("{} %", count_of(slice, "compute_percent")) : "-", engine,
                 pid == 0 ? "-" : std::to_string(pid), std::to_string(count_of(replica, "restarts")),
                 show_age(replica["started"].text_or(""), wall_now)});
    }
  }
  return table;
}

cli::Table devices_table(const net::JsonValue& answer) {
  cli::Table table(
      {"DEVICE", "MODEL", "MEMORY", "FREE", "COMPUTE FREE", "UNITS", "SLICES", "ISOLATION", "HEALTH"});
  for (size_t column = 2; column < 7; ++column) table.right_align(column);
  for (const net::JsonValue& device : answer["devices"].items()) {
    std::string health = device["healthy"].bool_or(true) ? "ok" : text_of(device, "health_reason");
    table.row({text_of(device, "id"), text_of(device, "model"),
               format_bytes(count_of(device, "memory_bytes")),
               format_bytes(count_of(device, "free_memory_bytes")),
               fmt::format("{} %", count_of(device, "free_compute_percent")),
               std::to_string(count_of(device, "compute_units")),
               std::to_string(device["slices"].items().size()), show_isolation(device), health});
  }
  return table;
}

std::string event_line(const net::JsonValue& event, bool color) {
  std::string reason = text_of(event, "reason");
  std::string line =
      fmt::format("{}  {:16} {}", cli::paint(show_clock(event["time"].text_or("")), cli::Style::Dim, color),
                  text_of(event, "subject"), cli::paint(text_of(event, "action"), cli::Style::Bold, color));
  if (!reason.empty()) line += fmt::format(" [{}]", cli::paint(reason, cli::Style::Warn, color));
  if (std::string message = text_of(event, "message"); !message.empty()) line += "  " + message;
  return line;
}

std::string phases_line(const net::JsonValue& deployment) {
  std::map<std::string, size_t> counts;
  for (const net::JsonValue& replica : deployment["replicas"].items()) ++counts[text_of(replica, "phase")];
  std::string line;
  for (std::string_view phase : {"ready", "starting", "pending", "unhealthy", "backoff", "draining"}) {
    if (auto found = counts.find(std::string(phase)); found != counts.end()) {
      line += fmt::format("{}{} {}", line.empty() ? "" : ", ", found->second, phase);
    }
  }
  return line.empty() ? "no replicas" : line;
}

}  // namespace tweendeck::commands

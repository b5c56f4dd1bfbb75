// A cell as text, and what is expected of it.
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>

#include "bench/vgpu/cell.h"
#include "bench/vgpu/work.h"

namespace tweendeck::bench {
namespace {

constexpr std::string_view kKinds[] = {"plain", "graph", "cooperative", "mixed"};
constexpr std::string_view kExecutions[] = {"fifo", "time-sliced", "overlapping"};
constexpr uint32_t kMostProcesses = 64;

bool parse_number(std::string_view text, uint64_t low, uint64_t high, uint64_t& out) {
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), out);
  return error == std::errc() && end == text.data() + text.size() && out >= low && out <= high;
}

bool parse_duration(std::string_view text, uint64_t& out_ns) {
  if (text.size() < 3) return false;
  const std::string_view unit = text.substr(text.size() - 2);
  if (!parse_number(text.substr(0, text.size() - 2), 1, 1'000'000, out_ns)) return false;
  out_ns *= unit == "us" ? 1'000 : kMs;
  return unit == "us" || unit == "ms";
}

bool parse_caps(std::string_view text, std::vector<uint32_t>& out) {
  out.clear();
  while (true) {
    const size_t plus = text.find('+');
    uint64_t cap = 0;
    if (!parse_number(text.substr(0, plus), 1, 100, cap)) return false;
    out.push_back(static_cast<uint32_t>(cap));
    if (plus == std::string_view::npos) return true;
    text.remove_prefix(plus + 1);
  }
}

bool parse_field(std::string_view name, std::string_view value, Cell& cell) {
  uint64_t number = 0;
  if (name == "cap") return parse_caps(value, cell.caps);
  if (name == "kernel") return parse_duration(value, cell.kernel_ns);
  if (name == "sms" && parse_number(value, 1, 1024, number)) {
    cell.sms = static_cast<uint32_t>(number);
    return true;
  }
  if (name == "processes" && parse_number(value, 1, kMostProcesses, number)) {
    cell.processes = static_cast<uint32_t>(number);
    return true;
  }
  if (name == "kind") {
    cell.kind = value;
    return std::ranges::count(kKinds, value) > 0;
  }
  if (name == "execution") {
    cell.execution = value;
    return std::ranges::count(kExecutions, value) > 0;
  }
  if (name == "borrow") {
    cell.borrow = value == "yes";
    return value == "yes" || value == "no";
  }
  if (name == "fill") {
    cell.half = value == "half";
    return value == "half" || value == "whole";
  }
  return false;
}

}  // namespace

std::expected<Cell, std::string> parse_cell(std::string_view text) {
  Cell cell;
  while (!text.empty()) {
    const std::string_view word = text.substr(0, text.find(' '));
    text.remove_prefix(std::min(text.size(), word.size() + 1));
    if (word.empty()) continue;
    const size_t equals = word.find('=');
    if (equals == std::string_view::npos ||
        !parse_field(word.substr(0, equals), word.substr(equals + 1), cell)) {
      return std::unexpected(
          "'" + std::string(word) +
          "' is no part of a cell; an example: cap=30 sms=132 kernel=1ms kind=graph processes=4, "
          "and execution=fifo, time-sliced or overlapping, fill=whole or half, borrow=yes");
    }
  }
  return cell;
}

std::string Cell::text() const {
  std::string out = "cap=";
  for (size_t i = 0; i < caps.size(); ++i) out += (i == 0 ? "" : "+") + std::to_string(caps[i]);
  out += " sms=" + std::to_string(sms) + " kernel=";
  out +=
      kernel_ns % kMs == 0 ? std::to_string(kernel_ns / kMs) + "ms" : std::to_string(kernel_ns / 1000) + "us";
  out += " kind=" + kind + " processes=" + std::to_string(processes);
  if (execution != "fifo") out += " execution=" + execution;
  if (half) out += " fill=half";
  if (borrow) out += " borrow=yes";
  return out;
}

uint64_t Cell::unit_ns() const {
  const bool has_graphs = kind == "graph" || kind == "mixed";
  return has_graphs ? kernel_ns * graph_kernels(kernel_ns) : kernel_ns;
}

namespace {

std::string borrow_misses(const BorrowResult& got, double floor, double window_points, double rest_points) {
  std::string out;
  char line[160];
  const auto add = [&](const char* format, double value) {
    snprintf(line, sizeof line, format, value);
    out += (out.empty() ? "" : "; ") + std::string(line);
  };
  if (got.lent_percent < kLentPercent) add("lent %.1f", got.lent_percent);
  if (!got.started_in_time) add("the owner's first work had to wait (floor %.0f)", floor);
  if (got.first_percent < floor - window_points) add("back in the first window: %.1f", got.first_percent);
  if (got.rest_percent < floor - rest_points) add("back: mean %.2f", got.rest_percent);
  return out;
}

}  // namespace

std::string CellResult::misses(const Cell& cell) const {
  std::string out;
  char line[160];
  // One unit more or less in a stretch is no error of the limit.
  const auto allowed = [&](double points, uint64_t stretch_ns) {
    return std::max(points, 100.0 * static_cast<double>(cell.unit_ns()) / static_cast<double>(stretch_ns));
  };
  if (borrow) {
    return borrow_misses(*borrow, cell.caps.back(), allowed(kWindowPoints, kWindowNs),
                         allowed(kMeanPoints, kRunNs - kWindowNs - floor_from_ns(cell)));
  }
  for (size_t i = 0; i < slices.size(); ++i) {
    const double cap = cell.caps[i];
    const SliceResult& slice = slices[i];
    if (std::abs(slice.mean_percent - cap) > kMeanPoints) {
      snprintf(line, sizeof line, "%scap %.0f: mean %.2f", out.empty() ? "" : "; ", cap, slice.mean_percent);
      out += line;
    }
    if (cell.caps.size() > 1) continue;
    for (size_t w = 0; w < slice.windows_percent.size(); ++w) {
      if (std::abs(slice.windows_percent[w] - cap) <= allowed(kWindowPoints, kWindowNs)) continue;
      snprintf(line, sizeof line, "%swindow %zu: %.1f (cap %.0f +- %.1f)", out.empty() ? "" : "; ", w,
               slice.windows_percent[w], cap, allowed(kWindowPoints, kWindowNs));
      out += line;
      break;
    }
  }
  return out;
}

}  // namespace tweendeck::bench

#include "routing/sources/prometheus_text.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>

namespace tweendeck::routing::sources {
namespace {

constexpr double kMaxCount = 1e12;  // a larger number of requests is no number of requests

bool is_name_byte(char c) {
  return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == ':';
}

bool is_blank(char c) {
  return c == ' ' || c == '\t';
}

// Skips `{...}`; label values are quoted and may hold braces and escaped quotes.
bool skip_labels(std::string_view& line) {
  if (line.empty() || line.front() != '{') return true;
  bool quoted = false;
  for (size_t i = 1; i < line.size(); ++i) {
    if (quoted && line[i] == '\\') {
      ++i;
    } else if (line[i] == '"') {
      quoted = !quoted;
    } else if (!quoted && line[i] == '}') {
      line.remove_prefix(i + 1);
      return true;
    }
  }
  return false;
}

bool parse_value(std::string_view text, double& value) {
  if (text == "NaN") return value = std::numeric_limits<double>::quiet_NaN(), true;
  if (text == "+Inf" || text == "Inf") return value = std::numeric_limits<double>::infinity(), true;
  if (text == "-Inf") return value = -std::numeric_limits<double>::infinity(), true;
  if (text.starts_with('+')) text.remove_prefix(1);
  auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (error == std::errc::result_out_of_range) return value = std::numeric_limits<double>::infinity(), true;
  return error == std::errc() && end == text.data() + text.size();
}

bool parse_line(std::string_view line, std::string_view& name, double& value) {
  size_t length = 0;
  while (length < line.size() && is_name_byte(line[length])) ++length;
  if (length == 0 || (line[0] >= '0' && line[0] <= '9')) return false;
  name = line.substr(0, length);
  line.remove_prefix(length);
  while (!line.empty() && is_blank(line.front())) line.remove_prefix(1);
  if (!skip_labels(line)) return false;
  while (!line.empty() && is_blank(line.front())) line.remove_prefix(1);
  size_t end = 0;
  while (end < line.size() && !is_blank(line[end])) ++end;  // a timestamp may follow
  return parse_value(line.substr(0, end), value);
}

}  // namespace

Status for_each_sample(std::string_view text, const Sample& sample) {
  for (size_t number = 1; !text.empty(); ++number) {
    size_t end = text.find('\n');
    std::string_view line = text.substr(0, end);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (line.ends_with('\r')) line.remove_suffix(1);
    while (!line.empty() && is_blank(line.front())) line.remove_prefix(1);
    if (line.empty() || line.front() == '#') continue;
    std::string_view name;
    double value = 0;
    if (!parse_line(line, name, value)) {
      return fail(Reason::MalformedRequest, fmt::format("line {} of the metrics is no sample", number));
    }
    sample(name, value);
  }
  return {};
}

Result<EndpointLoad> read_load(std::string_view text, const MetricNames& names) {
  double running = -1, waiting = -1, usage = -1;
  auto add = [](double& sum, double value) { sum = std::min(kMaxCount, std::max(sum, 0.0) + value); };
  auto ok = for_each_sample(text, [&](std::string_view name, double value) {
    if (!std::isfinite(value) || value < 0) return;
    if (name == names.running) add(running, value);
    if (name == names.waiting) add(waiting, value);
    if (name == names.kv_cache_usage) usage = std::max(usage, std::min(value, 1.0));
  });
  if (!ok) return fail(ok.error());
  EndpointLoad load;
  load.running = static_cast<int64_t>(running);
  load.waiting = static_cast<int64_t>(waiting);
  load.kv_cache_usage = usage;
  return load;
}

}  // namespace tweendeck::routing::sources
